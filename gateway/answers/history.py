"""Earlier turns of a conversation, in the three forms in which clients send them.

[{"question": "…", "answer": "…"}]                                          ours
[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]   OpenAI's messages
[["…", "…"]]                                                                pairs, as Gradio has them
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.decoding import BadQuestion, in_words, kind_of, plain
from gateway.errors import shown


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """An earlier question of this conversation, and its answer."""

    question: str
    answer: str


def turns(history: list[Any]) -> list[Turn]:
    """The turns in `history`, whose form its first item shows; raises BadQuestion, which names the item at fault."""
    if history and isinstance(history[0], dict) and "role" in history[0]:
        read = _of_messages(history)
    else:
        read = [_turn(f"history[{n}]", item) for n, item in enumerate(history)]
    for n, turn in enumerate(read):
        plain(f"history[{n}].question", turn.question)
        # A model's own words: a client that sends them back is not at fault.
        turn.answer = turn.answer.replace("\x00", "")
    return read


def conversation(messages: list[dict[str, Any]]) -> tuple[str, list[Turn]]:
    """The question in OpenAI's messages, which ends them, and the turns before it; raises BadQuestion.

    Only what people and the model said counts: a system message or a tool's result says nothing about a database.
    """
    said = [(n, message) for n, message in enumerate(messages) if message.get("role") in ("user", "assistant")]
    while said and said[0][1].get("role") == "assistant":
        said.pop(0)
    if not said or said[-1][1].get("role") != "user":
        raise BadQuestion("messages: must end with the user's question")
    # Neighbouring messages of one role are one text.
    joined: list[tuple[str, list[str]]] = []
    for n, message in said:
        role, text = _message(f"messages[{n}]", message)
        if joined and joined[-1][0] == role:
            joined[-1][1].append(text)
        else:
            joined.append((role, [text]))
    *before, question = ["\n".join(parts) for _, parts in joined]
    return question, [Turn(asked, answer) for asked, answer in zip(before[::2], before[1::2], strict=True)]


def _turn(path: str, item: Any) -> Turn:
    if isinstance(item, list):
        if len(item) != 2 or not all(isinstance(text, str) for text in item):
            came = " and ".join(kind_of(text) for text in item[:3]) or "an empty array"
            raise BadQuestion(f"{path}: must be a pair of two strings, question and answer, got {came}")
        return Turn(*item)
    try:
        return msgspec.convert(item, Turn)
    except msgspec.ValidationError as error:
        field, separator, rest = in_words(str(error)).partition(": ")
        inner = "" if field == "the body" else f".{field}"
        raise BadQuestion(f"{path}{inner}{separator}{rest}") from None


def _of_messages(messages: list[Any]) -> list[Turn]:
    """Neighbouring messages of one role are one text: some clients split what a person said, or an answer."""
    joined: list[tuple[str, list[str]]] = []
    for n, message in enumerate(messages):
        path = f"history[{n}]"
        role, text = _message(path, message)
        if joined and joined[-1][0] == role:
            joined[-1][1].append(text)
        elif role == ("assistant" if len(joined) % 2 else "user"):
            joined.append((role, [text]))
        else:
            raise BadQuestion(f'{path}.role: must be "user", because a conversation begins with one, got "{role}"')
    if len(joined) % 2:
        last = len(messages) - 1
        raise BadQuestion(f'history[{last}].role: must be "assistant"; the new question goes into `question`')
    texts = ["\n".join(parts) for _, parts in joined]
    return [Turn(question, answer) for question, answer in zip(texts[::2], texts[1::2], strict=True)]


def _message(path: str, message: Any) -> tuple[str, str]:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("user", "assistant"):
        came = shown(role) if isinstance(role, str) else kind_of(role)
        raise BadQuestion(f'{path}.role: must be "user" or "assistant" in each item, got {came}')
    content = message.get("content")
    if content is None and role == "assistant" and message.get("tool_calls"):
        # A call says nothing about a database either.
        content = ""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise BadQuestion(f"{path}.content: must be a string, or an array of text parts, got {kind_of(content)}")
    return role, content
