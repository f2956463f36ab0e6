"""Typical mistakes in sluice.yaml: each is one sentence with the key, the line and the cure, in English and Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gateway.settings import SettingsError, load
from providers.catalogue import WIRES

GOOD = """\
default: a
providers:
  a: {type: openai, model: m, base_url: "http://x/v1", api_key: "${KEY:-}"}
"""
SECRET = "sk-canary-0123456789"

# what the mistake is → the file (GOOD and these lines, unless it has its own `providers:`), the sentence
MISTAKES: dict[str, tuple[str, str]] = {
    "a tab": (
        "server:\n\tbind: 127.0.0.1:1\n",
        "FILE: not YAML: a tab; indent with spaces (line 5)",
    ),
    "an indent too few": (
        "server:\n  workers: 2\n drain_s: 3\n",
        "FILE: not YAML: a wrong indent; keys of one section begin in the same column (line 6)",
    ),
    "keys that belong deeper": (
        "workers: 2\n",
        "workers: unknown key; it belongs to server.workers (line 4)",
    ),
    "a Chinese colon": (
        "server：\n  workers: 2\n",
        'FILE: not YAML: the full-width "："; write the ASCII character, and a space after a colon or comma (line 4)',
    ),
    "a Chinese colon at an end": (
        "server:\n  workers：2\n",
        'server: the full-width "：" is not YAML; write the ASCII character, '
        "and a space after a colon or comma (line 5)",
    ),
    "a Chinese comma": (
        "server: {workers: 2，drain_s: 3}\n",
        'FILE: not YAML: the full-width "，"; write the ASCII character, and a space after a colon or comma (line 4)',
    ),
    "Chinese quotes": (
        "server: {bind: “127.0.0.1:1”}\n",
        'server.bind: the full-width "“" is not YAML; write the ASCII character, '
        "and a space after a colon or comma (line 4)",
    ),
    "no space after a colon": (
        "server:\n  workers:2\n",
        "server: must be keys with values, got text; write a space after the colon of `workers:` (line 5)",
    ),
    "a second colon in a line": (
        "text2sql: language: en\n",
        "FILE: not YAML: a second colon in a line, or a wrong indent; put text that has a colon in quotes (line 4)",
    ),
    "a quote that is not closed": (
        'server: {bind: "127.0.0.1:1}\n',
        "FILE: not YAML: a quote that is not closed (line 5)",
    ),
    "a bracket that is not closed": (
        "fallbacks: [a\nserver: {workers: 1}\n",
        "FILE: not YAML: a bracket or brace that is not closed, or a comma too few or too many (line 5)",
    ),
    "a backslash in double quotes": (
        'databases: {d: {url: "sqlite:///C:\\data\\x.db"}}\n',
        "FILE: not YAML: an unknown escape in double quotes; use single quotes, or write the backslash twice (line 4)",
    ),
    "an alias without an anchor": (
        "server: *common\n",
        "FILE: not YAML: an alias (*name) without its anchor (&name) (line 4)",
    ),
    "text that begins with a special character": (
        "auth: {secret: @abcdefghijklmnopq}\n",
        "FILE: not YAML: text that begins with a special character; put it in quotes (line 4)",
    ),
    "an anchor in itself": (
        "server: &s\n  cors: [*s]\n",
        "server.cors.0: an anchor contains itself; remove the alias (line 4)",
    ),
    "a key twice": (
        "server: {workers: 1}\nserver: {drain_s: 3}\n",
        "server: the key is there twice, first in line 4; remove one (line 5)",
    ),
    "a provider twice": (
        "default: a\nproviders:\n  a: {type: local, model: m}\n  a: {type: local, model: n}\n",
        "providers.a: the key is there twice, first in line 3; remove one (line 4)",
    ),
    "a mistyped key": (
        "server: {wokers: 2}\n",
        'server.wokers: unknown key; did you mean "workers"? (line 4)',
    ),
    "a mistyped section": (
        "sever: {workers: 2}\n",
        'sever: unknown key; did you mean "server"? (line 4)',
    ),
    "a mistyped key of a provider": (
        "default: a\nproviders:\n  a:\n    type: openai\n    model: m\n    base_ulr: http://x\n    base_url: http://x\n",
        'providers.a.base_ulr: unknown key; did you mean "base_url"? (line 6)',
    ),
    "a mistyped type": (
        "default: a\nproviders:\n  a: {type: opneai, model: m, base_url: 'http://x'}\n",
        f'providers.a.type: must be one of {", ".join(sorted(WIRES))}, got "opneai"; did you mean "openai"? (line 3)',
    ),
    "a mistyped default": (
        "default: b\nproviders:\n  a: {type: local, model: m}\n",
        'default: unknown provider "b"; expected one of a (line 1)',
    ),
    "no default": (
        "providers:\n  a: {type: local, model: m}\n",
        "default: is required: the provider that answers when a question names none; expected one of a",
    ),
    "a mistyped fallback": (
        "fallbacks:\n- a\n- aa\n",
        'fallbacks.1: unknown provider "aa"; did you mean "a"? (line 6)',
    ),
    "no providers": (
        "default: a\nproviders: {}\n",
        "providers: must name at least one provider, got none (line 2)",
    ),
    "a variable that is not set": (
        "server: {redis_url: '${REDIS}'}\n",
        "server.redis_url: the environment variable REDIS is not set; set it, or write ${REDIS:-default} (line 4)",
    ),
    "the default's secret is not set": (
        "default: q\nproviders:\n  q: {type: dashscope, model: m, api_key: '${NOT_SET}'}\n",
        "providers.q.api_key: is needed by the default provider, but not set; set it, or choose another default; "
        "it names the variable NOT_SET (line 3)",
    ),
    "a bad port": (
        "server: {bind: '127.0.0.1:99999'}\n",
        'server.bind: must be HOST:PORT, for example "127.0.0.1:9001", an IPv6 host in brackets, '
        'got "127.0.0.1:99999" (line 4)',
    ),
    "a port alone": (
        "server: {bind: 9001}\n",
        "server.bind: must be text, got 9001; write HOST:PORT, such as 127.0.0.1:9001 (line 4)",
    ),
    "text for a number": (
        "server: {workers: two}\n",
        'server.workers: must be a whole number, got "two" (line 4)',
    ),
    "a number out of range": (
        "server: {workers: 0}\n",
        "server.workers: must be at least 1, got 0 (line 4)",
    ),
    "a temperature out of range": (
        "default: a\nproviders:\n  a: {type: local, model: m, defaults: {temperature: 3}}\n",
        "providers.a.defaults.temperature: must be at most 2, got 3 (line 3)",
    ),
    "yes for true": (
        "databases: {d: {url: 'sqlite:///x.db', execute: sure}}\n",
        'databases.d.execute: must be true or false, got "sure" (line 4)',
    ),
    "text for a list": (
        "server: {cors: 'https://app.example'}\n",
        'server.cors: must be a list, such as [a, b], got "https://app.example"; write [https://app.example] (line 4)',
    ),
    "an origin with a path": (
        "server: {cors: ['https://app.example/']}\n",
        'server.cors: must be origins such as "https://app.example", without a path, '
        'got "https://app.example/" (line 4)',
    ),
    "an unknown language": (
        "text2sql: {language: fr}\n",
        'text2sql.language: must be "zh" or "en", got "fr" (line 4)',
    ),
    "a date that does not exist": (
        "text2sql: {language: 2026-02-30}\n",
        'text2sql.language: must be "zh" or "en", got "2026-02-30" (line 4)',
    ),
    "a date of expiry that does not exist": (
        f"auth: {{keys: [{{sha256: '{'0' * 64}', expires: 2026-02-30}}]}}\n",
        "auth.keys.0.expires: must be a date, such as 2027-01-31 (line 4)",
    ),
    "the model's folder is left out": (
        "default: a\nproviders:\n  a: {type: local}\n",
        "providers.a.model: is required, but missing (line 3)",
    ),
    "no address": (
        "default: a\nproviders:\n  a: {type: openai, model: m}\n",
        "providers.a.base_url: is required, but missing; write where the server is, such as http://gpu1:8000/v1 "
        "(line 3)",
    ),
    "an address without http": (
        "default: a\nproviders:\n  a: {type: openai, model: m, base_url: 'gpu1:8000'}\n",
        "providers.a.base_url: must begin with http:// or https://; "
        "write https://gpu1:8000 or http://gpu1:8000 (line 3)",
    ),
    "a database of an unknown kind": (
        "databases: {d: {url: 'oracle://u@h/x'}}\n",
        "databases.d.url: must be a URL of PostgreSQL, MySQL, MariaDB or SQLite (line 4)",
    ),
    "a database's URL with a bad port": (
        "databases: {d: {url: 'mysql://u@h:port/x'}}\n",
        "databases.d.url: not a database URL; expected one such as postgresql://role@host:5432/name (line 4)",
    ),
    "a password with @": (
        f"databases: {{d: {{url: 'postgresql://u:{SECRET}@x@h/db'}}}}\n",
        'databases.d.url: not a database URL: write "@" in a password as %40, ":" as %3A and "/" as %2F (line 4)',
    ),
    "two slashes before a SQLite file": (
        "databases: {d: {url: 'sqlite://x.db'}}\n",
        "databases.d.url: must have three slashes before a relative file: sqlite:///file.db (line 4)",
    ),
    "a database called none": (
        "databases: {none: {url: 'sqlite:///x.db'}}\n",
        'databases.none: the name "none" is reserved for a plain chat; choose another name (line 4)',
    ),
    "a bad redis_url": (
        f"server: {{redis_url: '{SECRET}@h'}}\n",
        "server.redis_url: not a valid Redis URL; expected redis://HOST:PORT/0, rediss://… or unix:///PATH (line 4)",
    ),
    "a plain key where its digest belongs": (
        f"auth: {{keys: [{SECRET}]}}\n",
        "auth.keys.0: must be the SHA-256 digest of a key (64 hex digits), not the key itself; "
        "`sluice keys new NAME` makes both (line 4)",
    ),
    "a secret in the wrong place": (
        f"text2sql: {{language: {SECRET}}}\n",
        'text2sql.language: must be "zh" or "en", got text that is not shown (line 4)',
    ),
    "two keys of one name": (
        f"auth:\n  keys:\n  - {{name: web, sha256: '{'0' * 64}'}}\n  - {{name: web, sha256: '{'1' * 64}'}}\n",
        "auth.keys.1.name: another key has this name; names tell keys apart in logs and limits (line 7)",
    ),
    "a key for a database that is not there": (
        f"auth: {{keys: [{{name: web, sha256: '{'0' * 64}', databases: [shop]}}]}}\n",
        'auth.keys.0.databases.0: unknown database "shop"; none is configured (line 4)',
    ),
    "an open address without keys": (
        "server: {bind: '0.0.0.0:9001'}\n",
        "auth.keys: 0.0.0.0:9001 can be reached from other machines, so at least one key is needed; "
        "`sluice keys new NAME` makes one",
    ),
    "a rate in words": (
        "limits: {requests: often}\n",
        'limits.requests: must be a rate such as "60/minute", got "often" (line 4)',
    ),
    "a role's reason too short": (
        "databases: {d: {url: 'sqlite:///x.db', unsafe_role: ok}}\n",
        "databases.d.unsafe_role: must be a sentence of at least 20 characters: who accepts the role's rights, "
        'and why, got "ok" (line 4)',
    ),
    "a number of a thousand digits": (
        f"server: {{workers: {'9' * 5000}}}\n",
        "server.workers: must be a number of ordinary length (line 4)",
    ),
    "a tag of Python's": (
        "server: {workers: !!python/object/apply:os.system [x]}\n",
        "server.workers: must be a whole number, got a list (line 4)",
    ),
}


def written(tmp_path, text):
    file = tmp_path / "sluice.yaml"
    file.write_text(text if "providers:" in text else GOOD + text, "utf-8")
    return file


def raised(file):
    with pytest.raises(SettingsError) as caught:
        load(file, environ={})
    return caught.value


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line_and_its_cure(tmp_path, mistake):
    text, sentence = MISTAKES[mistake]
    file = written(tmp_path, text)
    error = raised(file)
    assert str(error).replace(str(file), "FILE") == sentence
    chinese = error.text("zh")
    assert len(chinese.splitlines()) == 1
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    if line := re.search(r"\(line (\d+)\)$", sentence):
        assert f"（第 {line[1]} 行）" in chinese
    assert SECRET not in str(error) + chinese


def test_aliases_that_multiply_end_before_they_take_memory(tmp_path):
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    error = raised(written(tmp_path, "\n".join(rows)))
    assert "has more than 20000 values" in str(error)


def test_nesting_without_end_is_refused(tmp_path):
    assert "nested deeper than 40 levels" in str(raised(written(tmp_path, f"server: {'[' * 5000}")))
    assert "nested deeper than 40 levels" in str(raised(written(tmp_path, f"server: {'[' * 60}{']' * 60}")))


def test_a_secret_from_the_environment_is_never_shown(tmp_path):
    """`default: ${VAR}` with a key in it names the variable."""
    file = written(tmp_path, "default: ${VAR}\nproviders:\n  a: {type: local, model: m, dtype: '${VAR}'}\n")
    for value in (SECRET, "short"):
        with pytest.raises(SettingsError) as caught:
            load(file, environ={"VAR": value})
        assert value not in str(caught.value) + caught.value.text("zh")
        assert "${VAR}" in str(caught.value)


def test_merged_keys_and_anchors_are_taken(tmp_path):
    text = "default: a\nproviders:\n  a: &a {type: local, model: m}\n  b: {<<: *a, model: n}\n"
    settings = load(written(tmp_path, text), environ={})
    assert (settings.providers["b"].type, settings.providers["b"].model) == ("local", "n")


TIRED = yaml.safe_load(Path(__file__).with_name("tired_mistakes.yaml").read_text("utf-8"))


@pytest.mark.parametrize("case", TIRED, ids=lambda case: case["mistake"])
def test_a_tired_persons_mistake_is_one_sentence_in_both_languages(tmp_path, case):
    text = case["text"]
    file = tmp_path / "sluice.yaml"
    whole = text if case.get("whole") or "providers:" in text else GOOD + text
    file.write_bytes(whole.encode(case.get("encoding", "utf-8")))
    error = raised(file)
    assert str(error).replace(str(file), "FILE") == case["en"]
    assert error.text("zh").replace(str(file), "FILE") == case["zh"]


def test_sections_for_anchors_begin_with_x(tmp_path):
    text = "x-common: &c {model: m, base_url: 'http://x'}\ndefault: a\nproviders:\n  a: {<<: *c, type: openai}\n"
    assert load(written(tmp_path, text), environ={}).providers["a"].model == "m"
