"""What a person most likely meant: a problem's sentence with the cure that its line of the file suggests.

pydantic says what a key must be. The text of the file says why it is not: a unit behind a number, a comment that begins
with "//", a list where names belong, a variable in another program's form.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from gateway.settings.document import Document
from gateway.settings.problems import Problem, may_be_secret
from gateway.settings.translation import SECRET, at, section_at
from providers.catalogue import WIRES

# Names that people write as `type` → the type that speaks their form.
TYPES = {
    **dict.fromkeys(("vllm", "sglang", "ollama", "xinference", "lmdeploy", "deepseek", "moonshot", "kimi"), "openai"),
    **dict.fromkeys(("gpt", "azure", "chatgpt", "glm", "zhipu", "doubao", "openai_compatible"), "openai"),
    **dict.fromkeys(("qwen", "tongyi", "bailian", "aliyun", "alibaba"), "dashscope"),
    **dict.fromkeys(("wenxin", "erniebot", "ernie_bot", "yiyan"), "ernie"),
    **dict.fromkeys(("baidu", "qianfan_v2"), "qianfan"),
    **dict.fromkeys(("huggingface", "hf", "transformers", "torch"), "local"),
}
# Units behind a number: seconds, bytes, counts.
SCALES = {"ms": 0.001, "s": 1, "sec": 1, "秒": 1, "m": 60, "min": 60, "分钟": 60, "h": 3600, "小时": 3600}
SCALES |= {"b": 1, "kb": 10**3, "kib": 1 << 10, "mb": 10**6, "mib": 1 << 20, "gb": 10**9, "gib": 1 << 30}
SCALES |= {"k": 1000, "千": 1000, "万": 10_000}
_UNIT = re.compile(r"([\d.]+)\s*([a-zA-Z]+|秒|分钟|小时|万|千)")
Pair = tuple[str, str]


def cured(problems: Iterable[Problem], document: Document, model: type[BaseModel]) -> list[Problem]:
    """The problems with their cures; several that one slip made are one."""
    cured = [_cured(problem, document, model) for problem in problems]
    wider = [one for one in cured if one.kind in ("no_name", "number_commas", "plain_key")]
    sections = {one.key.rpartition(".")[0] if one.kind != "no_name" else one.key for one in wider}
    rest = [one for one in cured if one not in wider and not any(one.key.startswith(f"{name}.") for name in sections)]
    first = {
        (one.key if one.kind == "no_name" else one.key.rpartition(".")[0], one.kind): one for one in reversed(wider)
    }
    return [*reversed(first.values()), *rest]


def _cured(problem: Problem, document: Document, model: type[BaseModel]) -> Problem:
    if problem.kind not in ("unknown_key", "must_be", "said", "missing"):
        return problem
    path = tuple(problem.key.split("."))
    for line in (problem.line, document.value_line(path)):
        if character := document.full_width(line):
            return Problem(problem.key, "full_width", {"character": character}, line)
        if character := document.invisible(line):
            return Problem(document.visible(problem.key), "invisible", {"code": f"U+{ord(character):04X}"}, line)
    try:
        value = at(document.data, path)
    except KeyError:
        return problem
    if problem.kind == "unknown_key":
        return _of_a_key(problem, path, value, document)
    if path[-1] == "type" and isinstance(value, str) and problem.kind == "said":
        return _with(problem, *_type(value))
    if path[:1] in (("providers",), ("databases",)) and len(path) == 2 and problem.kind == "must_be":
        section = section_at(model, path[:1])
        if section is not None and path[1] in {*section.model_fields, "name"}:
            return Problem(path[0], "no_name", {"key": path[1]}, problem.line)
    if is_elsewhere(value):
        return Problem(problem.key, "variable_form", {}, problem.line)
    if path[-1] == "url" and isinstance(value, str) and problem.kind == "said":
        return _with(problem, *_url(value, document.row(document.value_line(path))))
    if problem.kind == "must_be":
        is_section = problem.values["expected"][0] == "keys with values"
        if is_section and isinstance(value, str) and (found := re.match(r"([a-z_]+):(?!//)\S", value)):
            return Problem(problem.key, "no_space", {"name": found[1]}, document.value_line(path))
        cure = _value(problem, path, value, model)
        return _with(problem, *cure) if cure else problem
    return problem


def is_elsewhere(value: Any) -> bool:
    """Whether a value names a variable in the form of a shell, of Windows, of a template, or in half of ours."""
    if not isinstance(value, str):
        return False
    if re.fullmatch(r"\$[A-Za-z_]\w*|\$\([A-Za-z_]\w*\)|%[A-Za-z_]\w*%|\{\{.*\}\}", value.strip()):
        return True
    return "${" in re.sub(r"\$\{[A-Za-z_]\w*(?::-[^}]*)?\}", "", value)


def _with(problem: Problem, english: str, chinese: str) -> Problem:
    """The problem with its cure after it."""
    said = problem.text("en"), problem.text("zh")
    return (
        Problem(problem.key, "cured", {"said": said, "cure": (english, chinese)}, problem.line) if english else problem
    )


def _of_a_key(problem: Problem, path: tuple[str, ...], value: Any, document: Document) -> Problem:
    key = path[-1]
    if key == "<":
        return Problem(problem.key, "merge_sign", {}, problem.line)
    if key.isdigit() and value is None:
        return Problem(problem.key, "number_commas", {}, problem.line)
    if path[:2] == ("auth", "keys") and key in ("key", "token", "api_key", "value", "secret"):
        return Problem(problem.key, "plain_key", {}, problem.line)
    if len(path) == 1 and re.search(r":\s*&\w", document.row(problem.line)):
        return Problem(problem.key, "shared", {"name": key}, problem.line)
    return problem


def _type(value: str) -> Pair:
    name = re.sub(r"[\s-]+", "_", value.strip().lower())
    meant = TYPES.get(name) or next(iter(difflib.get_close_matches(name, WIRES, 1, 0.6)), "")
    return (f'did you mean "{meant}"?', f"是不是“{meant}”？") if meant else ("", "")


def _url(value: str, row: str) -> Pair:
    """The cure of a database's URL; the URL itself may hold a password and is not shown."""
    if re.search(r"://\S*\s+#", row):
        return 'put the URL in quotes and write "#" as %23: " #" begins a comment', (
            "请给地址加引号，并把 “#” 写成 %23：空格加 “#” 是注释的开头"
        )
    if value.lower().startswith("jdbc:"):
        return 'write it without "jdbc:", with the user before the host', "请去掉 “jdbc:”，用户名写在主机前面"
    if re.match(r"sqlite:/?[^/]", value):
        return (
            "a SQLite file has three slashes: sqlite:///data/shop.db",
            "SQLite 文件写三个斜杠：sqlite:///data/shop.db",
        )
    if "://" not in value and value.endswith((".db", ".sqlite", ".sqlite3")):
        return (
            "a SQLite file has three slashes: sqlite:///data/shop.db",
            "SQLite 文件写三个斜杠：sqlite:///data/shop.db",
        )
    if "://" not in value:
        return "begin with postgresql://, mysql:// or sqlite:///", "请以 postgresql://、mysql:// 或 sqlite:/// 开头"
    return "", ""


def _value(problem: Problem, path: tuple[str, ...], value: Any, model: type[BaseModel]) -> Pair | None:
    expected = problem.values["expected"][0]
    if "number" in expected and isinstance(value, str):
        return _number(value)
    if expected.startswith("a list"):
        return _list(path, value)
    if expected == "keys with values":
        return _keys(path, value, model)
    if expected == "text":
        if path[-1] in ("bind", "metrics_bind"):
            return "write HOST:PORT, such as 127.0.0.1:9001", "请写 主机:端口，例如 127.0.0.1:9001"
        if path[-1] == "requests":
            return f'write a rate, such as "{value}/minute"', f"请写频率，例如 “{value}/minute”"
        if isinstance(value, list):
            return "write one value, without a list", "只写一个值，不要写成列表"
        if isinstance(value, int | float):
            return "put it in quotes", "请加引号"
    return None


def _number(value: str) -> Pair | None:
    text = value.strip()
    if re.search(r"\S\s*//|\S#", text):
        return 'a comment begins with a space and "#"', "注释以一个空格和 “#” 开头"
    if text.endswith((",", ";")):
        return f'remove the "{text[-1]}" at the end', f"请去掉末尾的 “{text[-1]}”"
    # 1,000,000, or full-width figures.
    plain = "".join(str(int(sign)) if sign.isdecimal() else sign for sign in text if sign not in ",，")
    if plain != text and re.fullmatch(r"[0-9]+(\.[0-9]+)?", plain):
        return f"write {plain}", f"请写 {plain}"
    if (found := _UNIT.fullmatch(text)) and (scale := SCALES.get(found[2].lower())):
        try:
            amount = float(found[1]) * scale
        except ValueError:
            return None
        return f"write {amount:g} without a unit" if amount < 1e6 else f"write {amount:.0f} without a unit", (
            f"请写 {amount:g}，不带单位" if amount < 1e6 else f"请写 {amount:.0f}，不带单位"
        )
    return None


def _list(path: tuple[str, ...], value: Any) -> Pair | None:
    if isinstance(value, dict):
        return 'begin each entry with "- "', "每一项以 “- ” 开头"
    if not isinstance(value, str) or SECRET & {*path} or may_be_secret(value):
        return None
    if value.startswith("-"):
        return 'write a space after the "-"', "“-” 后面要有一个空格"
    item = f'"{value}"' if re.search(r"[*&!%@`{}\[\]]", value) else value
    return f"write [{item}]", f"请写 [{item}]"


def _keys(path: tuple[str, ...], value: Any, model: type[BaseModel]) -> Pair | None:
    if isinstance(value, list):
        return 'write "name:" above the keys of each, without "-"', "每一项上面写 “名称:”，不要写 “-”"
    if isinstance(value, str) and (found := re.match(r"(\w+)\s*=", value)):
        return f"write `{found[1]}: …` with a colon", f"请用冒号写成 `{found[1]}: …`"
    if len(path) == 2 and path[0] == "databases":
        return "write the address below it, as `url: …`", "地址写在它下面：`url: …`"
    section = section_at(model, path)
    if section is None or isinstance(value, dict):
        return None
    required = [name for name, declared in section.model_fields.items() if declared.is_required()]
    names = ", ".join(f"`{name}:`" for name in (required or list(section.model_fields))[:3])
    return f"write keys below it, such as {names}", f"在它下面写键，例如 {names}"
