"""Write docs/configuration.md and its Chinese page from the settings' declarations: `python -m docs.write_tables`."""

from __future__ import annotations

import re
import types
import typing
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.languages import chinese
from gateway.settings import Auth, DatabaseSettings, Key, KeyLimits, Limits, Server, TextToSql
from providers.catalogue import WIRES
from providers.configuration import Breaker, ProviderConfiguration, SamplingDefaults, Timeouts

FILES = {name: Path(__file__).parent / folder / "configuration.md" for name, folder in (("en", ""), ("zh", "zh"))}

HEAD_EN = """# Configuration

One YAML file: `sluice.yaml` in the folder where the server is started, or the file that `SLUICE_CONFIG` or `--config`
names. `${VAR}` and `${VAR:-default}` come from the environment. The file is checked as a whole at start: an unknown
key, a missing secret or a bad value stops the start with the key's path. `sluice check` does only that. `SIGHUP`
reads it again; a bad file then keeps the old configuration, and a log line says so. Relative paths start at the
file's folder.

This page is written from the code by `python -m docs.write_tables`.

## The top level

| key | is |
|---|---|
| `default` | the provider that answers when the request names none; switching providers is this line |
| `fallbacks` | tried in order when that one fails before its first text; never in place of one that the request named |
| `providers`, `databases`, `server`, `auth`, `limits`, `text2sql` | below |
"""


HEAD_ZH = """# 配置

一个 YAML 文件：启动服务器时所在文件夹里的 `sluice.yaml`，或者 `SLUICE_CONFIG`、`--config` 指定的文件。
`${VAR}` 和 `${VAR:-默认值}` 取自环境变量。启动时检查整个文件：未知的键、缺少的密钥、不对的值都会中止启动，
并给出键的路径、行号和改法。`sluice check` 只做这项检查。
`SIGHUP` 会重新读取；文件有错就继续用原来的配置，日志里有一行说明。相对路径从文件所在的文件夹算起。

本页由 `python -m docs.write_tables` 根据代码写出。

## 顶层

| 键 | 说明 |
|---|---|
| `default` | 请求没有指定时由哪个模型服务回答；切换模型就改这一行 |
| `fallbacks` | 它在首段文字之前失败时依次尝试的模型服务；请求自己指定的绝不替换 |
| `providers`、`databases`、`server`、`auth`、`limits`、`text2sql` | 见下 |
"""
HEADS = {"en": HEAD_EN, "zh": HEAD_ZH}

# What a type is called, in English and in Chinese.
KINDS: dict[object, tuple[str, str]] = {
    str: ("text", "文本"),
    int: ("integer", "整数"),
    float: ("number", "数字"),
    bool: ("true or false", "true 或 false"),
    datetime: ("date or time", "日期或时间"),
    dict: ("mapping", "键和值"),
    None: ("keys below", "见下面的键"),
}
COLUMNS = {"en": ("key", "type", "default", "meaning"), "zh": ("键", "类型", "默认值", "含义")}


def kind(field: FieldInfo, language: str = "en") -> str:
    """A field's type as a person says it."""
    return spell(field.annotation, int(language == "zh"))


def spell(kind: object, place: int) -> str:
    """A type in words; `place` is 0 for English, 1 for Chinese."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    either = (" or ", " 或 ")[place]
    if origin is typing.Annotated:
        return spell(parts[0], place)
    if origin is typing.Literal:
        return either.join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return either.join("null" if part is type(None) else spell(part, place) for part in parts)
    if origin is list:
        item = spell(parts[0], place)
        return (f"list of {item}", f"{item}的列表")[place]
    return KINDS.get(origin if origin is dict else kind, KINDS[None])[place]


def default(field: FieldInfo, language: str = "en") -> str:
    value = field.default
    if field.is_required():
        return "required" if language == "en" else "必填"
    if isinstance(value, BaseModel):
        return ""
    words = {None: "null", True: "true", False: "false", "": '""'}
    return f"`{words[value] if isinstance(value, (str, bool, type(None))) and value in words else value}`"


def table(section: type[BaseModel], language: str = "en") -> str:
    lines = ["| " + " | ".join(COLUMNS[language]) + " |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        meaning = re.sub(r"\s+", " ", field.description or "")
        meaning = (meaning if language == "en" else chinese(meaning)).replace("|", "\\|")
        lines.append(f"| `{name}` | {kind(field, language)} | {default(field, language)} | {meaning} |")
    return "\n".join(lines)


def wires(language: str = "en") -> str:
    is_chinese = language == "zh"
    head = (
        "| 类型 | 没写 `base_url` 时的地址 | 需要 |"
        if is_chinese
        else ("| type | served at, if `base_url` does not say | needs |")
    )
    lines = [head, "|---|---|---|"]
    own, keyless = ("（自己的进程）", "不用密钥") if is_chinese else ("(its own process)", "no key")
    for wire in WIRES.values():
        needs = ("、" if is_chinese else ", ").join(f"`{secret}`" for secret in wire.secrets) or keyless
        lines.append(f"| `{wire.name}` | {wire.base_url or own * (wire.name == 'local')} | {needs} |")
    return "\n".join(lines)


def page(language: str = "en") -> str:
    """The whole page."""
    parts = [HEADS[language], "## `providers.<name>`\n", wires(language), ""]
    parts += [table(ProviderConfiguration, language), ""]
    for title, section in (
        ("providers.<name>.timeouts", Timeouts),
        ("providers.<name>.breaker", Breaker),
        ("providers.<name>.defaults", SamplingDefaults),
        ("databases.<name>", DatabaseSettings),
        ("server", Server),
        ("auth", Auth),
        ("auth.keys[]", Key),
        ("auth.keys[].limits", KeyLimits),
        ("limits", Limits),
        ("text2sql", TextToSql),
    ):
        parts += [f"## `{title}`\n", table(section, language), ""]
    return "\n".join(parts)


if __name__ == "__main__":
    for language, file in FILES.items():
        file.write_text(page(language), "utf-8")
