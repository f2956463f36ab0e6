"""OpenAI's messages made into turns as ERNIE wants them: an odd number, user and assistant in turn, system apart."""

from __future__ import annotations

from typing import Any

from providers.chat import ChatRequest, Message
from providers.errors import Rejected
from providers.wires.content import text_of

FILLER = "OK"


def ernie_messages(request: ChatRequest, upstream: str) -> tuple[str, list[Message], list[str]]:
    """(system text, turns, what was changed, a sentence each).

    Messages without text go, neighbours of one role are joined, a leading assistant's turn goes. Raises Rejected where
    there is no question at the end: an assistant's turn to be continued, or nothing at all.
    """
    system: list[str] = []
    messages_sent: list[Message] = []
    changed: list[str] = []
    called: dict[str, dict[str, Any]] = {}
    for message in request.messages:
        role, text = message.get("role"), text_of(message.get("content"), upstream)
        if role in ("system", "developer"):
            system.append(text)
        elif role == "tool":
            call = called.get(str(message.get("tool_call_id")))
            if call is None:
                raise Rejected(
                    "messages.tool_call_id: must name a call that an assistant's message before it made, got another"
                )
            messages_sent.append({"role": "assistant", "content": "", "function_call": call})
            messages_sent.append({"role": "function", "name": call["name"], "content": text})
        elif role == "assistant" and message.get("tool_calls"):
            # One call a turn, each before its result: the calls are written down when their results come.
            called |= {str(call.get("id")): _function_call(call) for call in message["tool_calls"]}
            if text:
                _add(messages_sent, "assistant", text, changed)
        elif not text:
            changed.append(f"a message of role {role} without text left out")
        elif messages_sent and messages_sent[-1]["role"] == "function" and role == "user":
            messages_sent += [{"role": "assistant", "content": FILLER}, {"role": "user", "content": text}]
            changed.append(f"{FILLER!r} put between a tool's result and a question, for turns must alternate")
        else:
            _add(messages_sent, str(role), text, changed)
    _check(messages_sent, upstream)
    return "\n\n".join(filter(None, system)), messages_sent, changed


def _add(made: list[Message], role: str, text: str, changed: list[str]) -> None:
    if role not in ("user", "assistant"):
        raise Rejected(f"messages.role: must be system, user, assistant or tool, got {role[:40]!r}")
    if not made and role == "assistant":
        changed.append("an assistant's turn before the first question left out")
    elif made and made[-1]["role"] == role and "function_call" not in made[-1]:
        made[-1]["content"] += "\n" + text
        changed.append(f"neighbouring messages of role {role} joined, for turns must alternate")
    else:
        made.append({"role": role, "content": text})


def _function_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {"name": function.get("name") or "", "arguments": function.get("arguments") or "{}"}


def _check(made: list[Message], upstream: str) -> None:
    if not made:
        raise Rejected(f"messages: {upstream} needs a message of role user with some text, got none")
    if made[-1]["role"] == "assistant":
        raise Rejected(
            f"messages: {upstream} cannot continue an assistant's turn; "
            "the last one must be the user's or a tool's, got assistant"
        )
    # What comes before a call's result is the question, the result of another call, or an assistant's words.
    position = 0
    while position < len(made) - 1:
        if made[position]["role"] == made[position + 1]["role"] == "assistant":
            made[position + 1]["content"] = made[position]["content"]
            del made[position]
            continue
        position += 1
    if made[0]["role"] == "assistant":
        raise Rejected("messages: the first one must be the user's, got the assistant's")
