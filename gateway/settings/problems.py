"""What can be wrong with a configuration, as data, and as one sentence in the reader's language.

The form is always "key: what is wrong; what was expected, what came (line)". A value is shown only where it stands in
the file itself and cannot be a secret.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_SHOWN_CHARACTERS = 60

# kind → English, Chinese. A kind that is not here carries its sentence in `said`.
SENTENCES: dict[str, tuple[str, str]] = {
    "said": ("{said}", "{said}"),
    "must_be": ("must be {expected}{got}", "应为{expected}{got}"),
    "cured": ("{said}; {cure}", "{said}；{cure}"),
    "missing": ("is required, but missing", "必须填写，但缺少"),
    "unknown_key": ("unknown key; {hint}", "未知的键；{hint}"),
    "unknown_name": (
        'unknown {what} "{name}"; {hint}',
        "{what} “{name}”不存在；{hint}",
    ),
    "unset_variable": (
        "the environment variable {name} is not set; set it, or write ${{{name}:-default}}",
        "环境变量 {name} 未设置；请设置它，或写成 ${{{name}:-默认值}}",
    ),
    "no_provider": ("must name at least one provider, got none", "至少要有一个模型服务，现在一个也没有"),
    "default_missing": (
        "is required: the provider that answers when a question names none; {hint}",
        "必须填写：问题没有指定时由哪个模型服务回答；{hint}",
    ),
    "default_secret": (
        "is needed by the default provider, but not set; set it, or choose another default",
        "默认的模型服务需要它，但没有设置；请设置它，或换一个 default",
    ),
    "default_variable": (
        "is needed by the default provider, but not set; set it, or choose another default; "
        "it names the variable {variable}",
        "默认的模型服务需要它，但没有设置；请设置环境变量 {variable}，或换一个 default",
    ),
    "reserved_name": (
        'the name "none" is reserved for a plain chat; choose another name',
        "名称 none 表示普通聊天，不能用作数据库名；请换一个名称",
    ),
    "open_without_keys": (
        "{bind} can be reached from other machines, so at least one key is needed; `sluice keys new NAME` makes one",
        "其他机器可以访问 {bind}，所以至少要有一个密钥；用 `sluice keys new NAME` 生成",
    ),
    "no_file": ('there is no file "{file}"', "文件 “{file}” 不存在"),
    "socks": (
        "the environment names a SOCKS proxy; expected an http:// one, got {got}",
        "环境变量里是 SOCKS 代理；应为 http:// 代理，现在是 {got}",
    ),
    "unreadable": ("cannot be read: {reason}", "无法读取：{reason}"),
    "not_utf8": (
        "must be UTF-8 text, got {got}; save it as UTF-8",
        "必须是 UTF-8 文本，实际是{got}；请另存为 UTF-8",
    ),
    "not_a_mapping": (
        "must be keys with values, such as `providers:`, got {got}; `sluice init` writes a first file",
        "应为键和值，例如 `providers:`，实际是{got}；`sluice init` 可以写出第一个文件",
    ),
    "no_space": (
        "must be keys with values, got text; write a space after the colon of `{name}:`",
        "应为键和值，实际是文本；`{name}:` 的冒号后要有一个空格",
    ),
    "same_name": (
        "another key has this name; names tell keys apart in logs and limits",
        "另一个密钥也叫这个名称；日志和限额靠名称区分密钥",
    ),
    "invisible": (
        "the line has the invisible character {code}; remove it, or write an ordinary space",
        "这一行有看不见的字符 {code}；请删掉它，或改成普通空格",
    ),
    "variable_form": (
        "not a variable as this file has them; write ${{NAME}} or ${{NAME:-default}}",
        "变量的写法不对；请写成 ${{NAME}} 或 ${{NAME:-默认值}}",
    ),
    "no_name": (
        "must be names, with the keys of each below its name; write a name above `{key}:`",
        "应为名称，每个名称下面才是它的键；请在 `{key}:` 上面写一个名称",
    ),
    "number_commas": (
        "a comma separates keys here; write the number without commas",
        "逗号在这里分隔键；数字里不要写逗号",
    ),
    "plain_key": (
        "must be `sha256` with the key's digest, not the key itself; `sluice keys new NAME` makes both",
        "应为 `sha256` 和密钥的摘要，而不是密钥本身；用 `sluice keys new NAME` 生成",
    ),
    "merge_sign": (
        "unknown key; write `<<: *name` to take another section's keys",
        "未知的键；引用别处的键要写 `<<: *名称`",
    ),
    "shared": (
        "unknown key; a section that only others refer to begins with x-, such as `x-{name}:`",
        "未知的键；只供别处引用的节以 x- 开头，例如 `x-{name}:`",
    ),
    "note_workers": (
        "{workers} workers without server.redis_url: an answer can be followed, stopped and rated on its own worker "
        "only, so such requests often get 404; set redis_url, or one worker",
        "{workers} 个 worker 而没有 server.redis_url：答案只能在它自己的 worker 上继续、停止和评价，"
        "这类请求常常得到 404；请设置 redis_url，或只用一个 worker",
    ),
    "note_descriptors": (
        "{streams} streams need about {needed} open files, and this process may have {limit}; "
        "raise the limit (ulimit -n, LimitNOFILE) or lower max_streams",
        "{streams} 个流大约需要 {needed} 个打开的文件，而本进程只允许 {limit} 个；"
        "请提高限制（ulimit -n、LimitNOFILE）或降低 max_streams",
    ),
    "note_kept": (
        "a worker keeps each ended answer for {age:g} s, all of them in at most {total} MiB (the oldest go first)",
        "worker 把结束的答案各保留 {age:g} 秒，总共至多 {total} MiB（最旧的先删除）",
    ),
    "full_width": (
        'the full-width "{character}" is not YAML; write the ASCII character, and a space after a colon or comma',
        "全角符号“{character}”不是 YAML；请改用半角符号，冒号和逗号后面加一个空格",
    ),
    "yaml_full_width": (
        'not YAML: the full-width "{character}"; write the ASCII character, and a space after a colon or comma',
        "不是 YAML：全角符号“{character}”；请改用半角符号，冒号和逗号后面加一个空格",
    ),
    "file_too_large": ("must have at most {limit} bytes", "文件不能超过 {limit} 字节"),
    "yaml_tab": ("not YAML: a tab; indent with spaces", "不是 YAML：有制表符；请用空格缩进"),
    "yaml_second_colon": (
        "not YAML: a second colon in a line, or a wrong indent; put text that has a colon in quotes",
        "不是 YAML：一行中有第二个冒号，或缩进不对；含冒号的文本要加引号",
    ),
    "yaml_no_colon": (
        "not YAML: a key without its colon; write `key: value`, with a space after the colon",
        "不是 YAML：键后面没有冒号；请写成 `key: value`，冒号后有一个空格",
    ),
    "yaml_alias": (
        "not YAML: an alias (*name) without its anchor (&name)",
        "不是 YAML：别名（*name）没有对应的锚点（&name）",
    ),
    "yaml_escape": (
        "not YAML: an unknown escape in double quotes; use single quotes, or write the backslash twice",
        "不是 YAML：双引号中有未知的转义；请用单引号，或把反斜杠写两次",
    ),
    "yaml_quote": ("not YAML: a quote that is not closed", "不是 YAML：引号没有结束"),
    "yaml_quote_it": (
        "not YAML: text that begins with a special character; put it in quotes",
        "不是 YAML：文本以特殊字符开头；请加引号",
    ),
    "yaml_bracket": (
        "not YAML: a bracket or brace that is not closed, or a comma too few or too many",
        "不是 YAML：括号没有结束，或者少了、多了逗号",
    ),
    "yaml_indent": (
        "not YAML: a wrong indent; keys of one section begin in the same column",
        "不是 YAML：缩进不对；同一节的键要对齐",
    ),
    "yaml_character": ("not YAML: a control character", "不是 YAML：有控制字符"),
    "yaml_comment": ('not YAML: "//"; a comment begins with "#"', "不是 YAML：“//”；注释以 “#” 开头"),
    "yaml_documents": (
        "not YAML: a second document; remove the line `---`",
        "不是 YAML：有第二个文档；请去掉 `---` 这一行",
    ),
    "yaml_template": (
        "a template is not filled in here; write ${{NAME}} for a variable",
        "这里不填模板；变量请写成 ${{NAME}}",
    ),
    "yaml": ("not YAML: {said}", "不是 YAML：{said}"),
    "yaml_values": ("has more than {limit} values, aliases counted each time", "展开别名后超过 {limit} 个值"),
    "yaml_recursive": ("an anchor contains itself; remove the alias", "锚点包含它自己；请去掉别名"),
    "yaml_depth": ("nested deeper than {limit} levels", "嵌套超过 {limit} 层"),
    "yaml_merge": ("`<<` must name a mapping", "`<<` 后面应为键值"),
    "yaml_key": ("a key must be text, got a list or a mapping", "键应为文本，实际是列表或键值"),
    "yaml_twice": (
        "the key is there twice, first in line {first}; remove one",
        "同一个键写了两次，第一次在第 {first} 行；请去掉一个",
    ),
    "yaml_number": ("must be a number of ordinary length", "数字太长"),
    "yaml_tag": ("the tag {tag} is not supported; write plain values", "不支持标签 {tag}；请写普通的值"),
}

# What pydantic expected, by its own name of the error → English, Chinese.
EXPECTATIONS: dict[str, tuple[str, str]] = {
    "string_type": ("text", "文本"),
    "int_type": ("a whole number", "整数"),
    "int_parsing": ("a whole number", "整数"),
    "int_from_float": ("a whole number", "整数"),
    "float_type": ("a number", "数字"),
    "float_parsing": ("a number", "数字"),
    "finite_number": ("a finite number", "有限的数字"),
    "bool_type": ("true or false", "true 或 false"),
    "bool_parsing": ("true or false", "true 或 false"),
    "list_type": ("a list, such as [a, b]", "列表，例如 [a, b]"),
    "dict_type": ("keys with values", "键和值"),
    "model_type": ("keys with values", "键和值"),
    "model_attributes_type": ("keys with values", "键和值"),
    "datetime_parsing": ("a date and time, such as 2027-01-31T12:00:00Z", "日期时间，例如 2027-01-31T12:00:00Z"),
    "datetime_from_date_parsing": ("a date, such as 2027-01-31", "日期，例如 2027-01-31"),
    "datetime_type": ("a date, such as 2027-01-31", "日期，例如 2027-01-31"),
    "greater_than": ("more than {gt}", "大于 {gt} 的数"),
    "greater_than_equal": ("at least {ge}", "至少 {ge}"),
    "less_than": ("less than {lt}", "小于 {lt} 的数"),
    "less_than_equal": ("at most {le}", "至多 {le}"),
    "too_long": ("a list of at most {max_length}", "至多 {max_length} 项的列表"),
    "too_short": ("a list of at least {min_length}", "至少 {min_length} 项的列表"),
    "string_too_short": ("text of at least {min_length} characters", "至少 {min_length} 个字符的文本"),
    "string_too_long": ("text of at most {max_length} characters", "至多 {max_length} 个字符的文本"),
}


# How a validator's message begins → the same in Chinese.
VALIDATORS = {
    "must be a time zone": "应为时区，例如 Asia/Shanghai 或 +08:00",
    "must be HOST:PORT": '应为 主机:端口，例如 "127.0.0.1:9001"，IPv6 主机写在方括号中',
    "must be origins": '应为网页来源，例如 "https://app.example"，不带路径',
    "must be host names": '应为主机名，例如 "sluice.example"，不带协议和端口',
    "must be addresses or networks": '应为地址或网段，例如 "10.0.0.0/8"',
    "not a valid Redis URL": "不是 Redis 地址；应为 redis://HOST:PORT/0、rediss://… 或 unix:///PATH",
    "must be a sentence": "应为至少 20 个字符的一句话：谁接受这个角色的权限，为什么",
    "not a database URL; expected": "不是数据库地址；应类似 postgresql://role@host:5432/name",
    "not a database URL: write": '不是数据库地址：密码中的 "@" 写成 %40，":" 写成 %3A，"/" 写成 %2F',
    "must be a URL of PostgreSQL": "应为 PostgreSQL、MySQL、MariaDB 或 SQLite 的地址",
    "must have three slashes": "相对路径前要有三个斜杠：sqlite:///file.db",
    "must be a rate": '应为频率，例如 "60/minute"',
    "must be the SHA-256 digest": "应为密钥的 SHA-256 摘要（64 位十六进制数），用 `sluice keys new NAME` 生成",
    "must have at least 16 characters": "至少 16 个字符",
    "must begin with http": "应以 http:// 或 https:// 开头",
    "is required, but missing": "必须填写，但缺少",
    "must be auto, or at least": "应为 auto 或足够大的整数",
    "must be auto, float32": "应为 auto、float32、bfloat16 或 float16",
    "must be one of": "应为已知的类型",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """
    key     the dotted path of the key, "" for the file as a whole
    kind    one of SENTENCES
    values  what the sentence names; a pair is a word in English and in Chinese
    line    in the file, from 1; None where it is not known
    """

    key: str
    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    line: int | None = None

    def text(self, language: str = "en") -> str:
        """What is wrong, without the key and the line."""
        place = int(language == "zh")
        values = {name: value[place] if isinstance(value, tuple) else value for name, value in self.values.items()}
        return SENTENCES[self.kind][place].format(**values)

    def sentence(self, language: str = "en") -> str:
        """The problem in "en" or "zh"."""
        place, text = int(language == "zh"), self.text(language)
        where = "" if self.line is None else (f" (line {self.line})", f"（第 {self.line} 行）")[place]
        return f"{self.key}{('：' if place else ': ') if self.key else ''}{text}{where}"

    def __str__(self) -> str:
        return self.sentence()


class SettingsError(Exception):
    """The configuration cannot be used; `str()` has one sentence a line, in English."""

    def __init__(self, problems: Sequence[Problem], file: str = "") -> None:
        self.problems = list(problems)
        self._file = file
        super().__init__(self.text())

    def text(self, language: str = "en") -> str:
        """The sentences, one a line; those about the file as a whole begin with its name."""
        prefix = f"{self._file}: " if self._file else ""
        return "\n".join((prefix if not problem.key else "") + problem.sentence(language) for problem in self.problems)


def language(environ: Any = os.environ) -> str:
    """The language of the person at this terminal, as LC_ALL, LC_MESSAGES or LANG say it: "zh" or "en"."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return "zh" if environ[name].lower().startswith("zh") else "en"
    return "en"


def hint(name: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> tuple[str, str]:
    """What to do about a name that is not one of `known`: "did you mean", else the list.

    elsewhere   full keys under which this name is known
    """
    names = [str(one) for one in known]
    if close := difflib.get_close_matches(name, names, 1, 0.6):
        return f'did you mean "{close[0]}"?', f"是不是“{close[0]}”？"
    if other := [key for key in elsewhere if key.rpartition(".")[2] == name]:
        return f"it belongs to {' or '.join(other[:3])}", f"它属于 {' 或 '.join(other[:3])}"
    if not names:
        return "none is configured", "没有配置任何一个"
    listed = ", ".join(sorted(names))
    return f"expected one of {listed}", f"可以是 {listed}"


# What `shown` says instead of a value → the same in Chinese.
WORDS = {
    "nothing": "空",
    "keys with values": "键和值",
    "a list": "列表",
    "text that is not shown": "不便显示的文本",
}


# The system's words for why a file cannot be read → the same in Chinese.
REASONS = {
    "No such file or directory": "没有这个文件",
    "Permission denied": "没有权限",
    "Is a directory": "这是一个文件夹",
    "Not a directory": "路径中有一段不是文件夹",
}


def reason_both(reason: str) -> tuple[str, str]:
    """Why a file cannot be read, in English and in Chinese."""
    return reason, REASONS.get(reason, reason)


def shown_both(value: Any) -> tuple[str, str]:
    """A value as a message shows it, in English and in Chinese; a word of Chinese needs no space before it."""
    text = shown(value)
    return text, WORDS.get(text, f" {text}")


def shown(value: Any) -> str:
    """A value as a message shows it: short, on one line, text in quotes; never one that may be a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        if may_be_secret(value):
            return "text that is not shown"
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in value)
        return f'"{text}"' if len(text) <= MAX_SHOWN_CHARACTERS else f'"{text[:MAX_SHOWN_CHARACTERS]}…"'
    return str(value)[:MAX_SHOWN_CHARACTERS]


def may_be_secret(text: str) -> bool:
    """Whether this may be a key or hold one: it looks like one, or is a URL with a password."""
    return bool(re.search(r"\bsk-|[A-Za-z0-9+/_=-]{24,}|://[^/\s]*@", text))
