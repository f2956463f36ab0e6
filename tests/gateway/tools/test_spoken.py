"""The commands in a Chinese terminal: each help and sentence is Chinese, and no line is wider than the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import click
import pytest

from docs import write_locale
from gateway.cli import main
from gateway.sentences import FILE
from gateway.tools.spoken import folded
from gateway.tools.terminal import width

NAMES = [(), *((name,) for name in main.commands), ("keys", "new"), ("keys", "list"), ("keys", "revoke")]


def sluice(*arguments, language="zh_CN.UTF-8"):
    environ = os.environ | {"LC_ALL": language, "COLUMNS": "80"}
    command = [sys.executable, "-m", "gateway.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)


def test_gettexts_file_is_what_the_catalogue_says():
    assert write_locale.FILE.read_bytes() == write_locale.content(), FILE


@pytest.mark.parametrize("name", NAMES, ids="-".join)
def test_help_in_chinese_fits_a_terminal_of_80_columns(name):
    result = sluice(*name, "--help")
    assert result.returncode == 0 and result.stderr == ""
    for line in result.stdout.splitlines():
        assert width(line) <= 80, line
    # Of English there are names, examples and metavars alone: no four words in a row.
    text = re.sub(r"例：.*(\n  \S.*)*|`[^`]*`", "", result.stdout)
    assert not re.search(r"\b[a-z]+ [a-z]+ [a-z]+ [a-z]+\b", text)
    assert "用法：" in text and "选项：" in text and "显示本说明并退出" in text


@pytest.mark.parametrize("name", [(), ("ask",)], ids=["sluice", "ask"])
def test_help_in_english_is_as_it_was(name):
    text = sluice(*name, "--help", language="en_US.UTF-8").stdout
    assert "Usage:" in text and "Show this message and exit." in text and not re.search(r"[\u4e00-\u9fff]", text)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("nonsense",), "没有命令 'nonsense'"), (("ask",), "缺少参数 'QUESTION'"),
     (("ask", "q", "--format", "xml"), "--format' 的值无效：'xml' 不是其中之一"), (("keys", "list", "-x"), "没有选项"),
     (("init", "--file", __file__), "已经存在；--force 会覆盖它"), (("providers", "nothing"), "必须是其中之一")],
)  # fmt: skip
def test_what_is_wrong_is_said_in_chinese(arguments, says):
    result = sluice(*arguments)
    assert result.returncode == 2 and says in result.stderr


def test_every_text_of_the_help_has_its_chinese():
    import json

    known = json.loads(FILE.read_text("utf-8"))["commands"]

    def texts(command: click.Command):
        yield from (" ".join(part.split()) for part in (command.help or "").split("\n\n"))
        yield from (one.help for one in command.params if isinstance(one, click.Option) and one.help)
        for below in command.commands.values() if isinstance(command, click.Group) else ():
            yield from texts(below)

    missing = {text for text in texts(main) if not text.startswith("Example: ")} - known.keys()
    assert missing == set()


def test_lines_break_between_characters_and_never_before_a_sign():
    text = "这是一句很长的话，里面有 English words 和标点。"
    for columns in range(8, 40):
        lines = folded(text, columns)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(width(line) <= columns for line in lines)
        assert not any(line[0] in "，。" for line in lines)
