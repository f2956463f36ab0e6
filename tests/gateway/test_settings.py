"""The configuration is judged as a whole, and a problem is named by its key, never by its value."""

from __future__ import annotations

import sys

import pytest

from gateway.settings import SettingsError, load, parse

SECRET = "sk-canary-0123456789"


def minimal(**more):
    return {"default": "a", "providers": {"a": {"type": "openai", "model": "m", "base_url": "http://x/v1"}}} | more


def problem(raw, **environ):
    with pytest.raises(SettingsError) as caught:
        parse(raw, environ=environ)
    return str(caught.value)


def test_the_shipped_configuration_is_good_without_any_secret():
    settings = load("sluice.yaml", environ={})
    assert settings.default == "local"
    assert settings.providers["qwen"].missing_secrets == ["api_key"]
    assert settings.server.bind == "127.0.0.1:9001"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({}, "providers: is required, but missing"),
        (minimal(defualt="a"), "defualt: unknown key"),
        (minimal(default="b"), 'default: unknown provider "b"; expected one of a'),
        (minimal(fallbacks=["b"]), 'fallbacks.0: unknown provider "b"; expected one of a'),
        (
            minimal(server={"bind": "9001"}),
            'server.bind: must be HOST:PORT, for example "127.0.0.1:9001", an IPv6 host in brackets, got "9001"',
        ),
        (minimal(server={"heartbeat_s": 0}), "server.heartbeat_s: must be more than 0, got 0"),
        (minimal(server={"bind": "0.0.0.0:9001"}), "auth.keys: 0.0.0.0:9001 can be reached from other machines"),
        (
            minimal(databases={"d": {"url": "nonsense"}}),
            "databases.d.url: not a database URL; expected one such as postgresql://",
        ),
        (
            minimal(databases={"none": {"url": "sqlite://"}}),
            'databases.none: the name "none" is reserved for a plain chat',
        ),
        (
            minimal(auth={"keys": ["abc"]}),
            "auth.keys.0: must be the SHA-256 digest of a key (64 hex digits), not the key itself",
        ),
        (minimal(limits={"requests": "often"}), 'limits.requests: must be a rate such as "60/minute", got "often"'),
        (
            {"default": "a", "providers": {"a": {"type": "tgi", "model": "m"}}},
            "providers.a.type: must be one of dashscope, ",
        ),
        (
            {"default": "a", "providers": {"a": {"type": "openai", "model": "m"}}},
            "providers.a.base_url: is required, but missing",
        ),
        ({"default": "a", "providers": {"a": {"type": "local"}}}, "providers.a.model: is required, but missing"),
        (
            {"default": "a", "providers": {"a": {"type": "local", "model": "m", "max_context": 1}}},
            "providers.a.max_context: must be auto, or at least 2, got 1",
        ),
        (
            {"default": "a", "providers": {"a": {"type": "local", "model": "m", "threads": -1}}},
            "providers.a.threads: must be auto, or at least 1, got -1",
        ),
    ],
)
def test_a_problem_names_its_key(raw, told):
    assert told in problem(raw)


NO_REDIS = [
    "http://x/",
    "foo",
    "redis://h:port/0",
    "redis://h:70000/0",
    "unix://",
    "redis://[::1/0",
]


@pytest.mark.parametrize("url", [*NO_REDIS, f"redis://u:{SECRET}@h:{SECRET}/0"])
def test_a_redis_url_that_cannot_be_used_is_told_without_what_it_says(url):
    told = problem(minimal(server={"redis_url": url}))
    assert told.startswith("server.redis_url: not a valid Redis URL; expected redis://HOST:PORT/0")
    assert len(told.splitlines()) == 1 and SECRET not in told


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://u:p%40@[::1]:6380/3?socket_timeout=2", "unix:///run/r.sock?db=1"]
)
def test_a_redis_url_is_taken_as_it_is(url):
    assert parse(minimal(server={"redis_url": url})).server.redis_url == url


def test_a_vendors_client_that_is_not_installed_is_told_at_the_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "dashscope", None)
    told = {"type": "dashscope", "model": "m", "api_key": "k", "transport": "sdk"}
    assert "providers.a.transport: sdk needs the vendor's own client" in problem(
        {"default": "a", "providers": {"a": told}}
    )


def test_every_problem_is_told_at_once():
    assert len(problem(minimal(server={"bind": "x", "workers": 0}, surprise=1)).splitlines()) == 3


def test_variables_come_from_the_environment_with_defaults():
    raw = minimal(databases={"d": {"url": "sqlite:///${FOLDER:-/tmp}/x.db"}})
    assert parse(raw, environ={}).databases["d"].url == "sqlite:////tmp/x.db"
    assert parse(raw, environ={"FOLDER": "/srv"}).databases["d"].url == "sqlite:////srv/x.db"


def test_a_variable_that_is_not_set_is_told_by_its_key():
    raw = minimal(server={"redis_url": "${REDIS}"})
    assert (
        problem(raw)
        == "server.redis_url: the environment variable REDIS is not set; set it, or write ${REDIS:-default}"
    )


def test_a_secret_is_missing_only_if_the_default_needs_it():
    providers = {
        "a": {"type": "openai", "model": "m", "base_url": "http://x/v1"},
        "q": {"type": "dashscope", "model": "m", "api_key": "${KEY}"},
    }
    assert parse({"default": "a", "providers": providers}, environ={}).providers["q"].missing_secrets == ["api_key"]
    told = problem({"default": "q", "providers": providers})
    assert told.startswith("providers.q.api_key: is needed by the default provider, but not set; set it, or choose")
    assert told.endswith("it names the variable KEY")


def test_a_bad_value_is_told_without_the_secret_beside_it():
    raw = {"default": "q", "providers": {"q": {"type": "dashscope", "api_key": SECRET, "secret_key": [SECRET]}}}
    assert SECRET not in problem(raw)


def test_a_provider_may_be_called_what_older_yaml_takes_for_a_boolean_or_a_number(tmp_path):
    row = "{type: openai, model: m, base_url: 'http://x/v1'}"
    (tmp_path / "c.yaml").write_text(f"default: off\nproviders: {{off: {row}, 7: {row}}}")
    assert list(load(tmp_path / "c.yaml").providers) == ["off", "7"]


def test_paths_start_at_the_files_own_folder(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "c.yaml").write_text(
        "default: l\nproviders: {l: {type: local, model: models}}\ndatabases: {d: {url: 'sqlite:///x.db'}}"
    )
    settings = load(tmp_path / "c.yaml")
    assert settings.providers["l"].model == str(tmp_path / "models")
    assert settings.databases["d"].url == f"sqlite:///{tmp_path}/x.db"


@pytest.mark.parametrize(("content", "told"), [("a: [", "line 1"), ("- 1", "must be keys"), ("\xff", "must be keys")])
def test_a_file_that_is_no_configuration_is_told_so(tmp_path, content, told):
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(SettingsError, match=told):
        load(tmp_path / "c.yaml")


def test_a_missing_file_is_told_by_its_name(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("bind", "loopback"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("unix:/x", True), ("10.0.0.1:1", False)],
)
def test_loopback_is_what_only_this_machine_reaches(bind, loopback):
    keys = {"keys": ["0" * 64]}
    assert parse(minimal(server={"bind": bind}, auth=keys)).server.is_loopback is loopback


def test_an_unset_variable_of_the_default_stops_the_start_on_a_wire_that_needs_no_key_too():
    row = {"type": "openai", "model": "m", "base_url": "http://x/v1", "api_key": "${GPU_KEY}"}
    told = problem({"default": "a", "providers": {"a": row}})
    assert told.startswith("providers.a.api_key: is needed by the default provider")
    assert "GPU_KEY" in told
