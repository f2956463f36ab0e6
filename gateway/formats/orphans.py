"""A thought that only its closing tag tells, where the whole reply is there: its text is reasoning after all.

Templates of some models write the opening tag into the prompt. A stream has passed the text on by then, and cannot take
it back; a form that is written at the end can still say which part was the thought.
"""

from __future__ import annotations

from gateway.answers.events import Event
from gateway.answers.steps import EventName
from providers.stream.thinking import orphan_closing


def apart(found: list[Event]) -> list[Event]:
    """The events, with what a closing tag alone ends among the reasoning; each reply of the answer by itself."""
    replies: list[list[Event]] = [[]]
    for event in found:
        replies[-1].append(event)
        if event.name == EventName.CORRECTING:
            replies.append([])
    return [event for reply in replies for event in _apart(reply)]


def _apart(reply: list[Event]) -> list[Event]:
    texts = [event.data["text"] for event in reply if event.name == EventName.MESSAGE]
    if any(event.name == EventName.REASONING for event in reply) or not (tag := orphan_closing("".join(texts))):
        return reply
    split: list[Event] = []
    at = 0
    for event in reply:
        if event.name != EventName.MESSAGE or at >= tag.end():
            split.append(event)
            continue
        text = event.data["text"]
        thought, rest = text[: max(0, tag.start() - at)], text[max(0, tag.end() - at) :]
        at += len(text)
        split += [Event(EventName.REASONING, {"text": thought})] if thought else []
        split += [Event(EventName.MESSAGE, event.data | {"text": rest})] if rest else []
    return split
