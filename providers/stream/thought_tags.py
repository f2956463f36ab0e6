"""The tags that models put around their thoughts, whatever their case and their service's spelling.

    <think>  <seed:think>  <mm:think>  <longcat_think>   closed by the same name with a slash
    <|think|>  [THINK]  ◁think▷                          likewise, with their own brackets
    <|begin_of_thought|>  <|START_THINKING|>             closed by end_…
    <|think_start|>                                      closed by …_end
    <unused94>thought  <|channel>thought                 closed by <unused95>, <channel|>
    <|inner_prefix|>                                     closed by <|inner_suffix|>

source   the chat templates of DeepSeek R1, QwQ, Qwen3, Seed, MiniMax, LongCat, Magistral, Kimi-VL, Sky-T1, Command A,
         MedGemma, Gemma and Apertus; the reasoning parsers that vLLM and SGLang list; Gemini's OpenAI endpoint
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_WORD = r"(?:think(?:ing)?|thoughts?)"
_NAME = (
    rf"(?:(?:(?!begin_|start_|end_)[a-z0-9]{{1,16}}[:_-])?{_WORD}(?!_start|_begin|_end)|antthinking|reasoning|reason)"
)
_OPENING = (
    rf"<{_NAME}>|<\|{_NAME}\|>|\[think\]|◁{_WORD}▷|<unused94>|<\|inner_prefix\|>|<\|channel>"
    rf"|<\|?(?:begin|start)_(?:of_)?{_WORD}\|?>|<\|?{_WORD}_(?:start|begin)\|?>"
)
_CLOSING = (
    rf"</{_NAME}>|<\|/{_NAME}\|>|\[/think\]|◁/{_WORD}▷|<unused95>|<\|inner_suffix\|>|<channel\|>"
    rf"|<\|?end_(?:of_)?{_WORD}\|?>|<\|?{_WORD}_end\|?>"
)
TAG = re.compile(rf"(?P<closing>{_CLOSING})|(?:{_OPENING})", re.IGNORECASE)
"""Any of them; the group `closing` is there for one that closes."""

# What gpt-oss writes where nothing parts its channels: as tokens, or as the words that are left without the tokens.
HARMONY = re.compile(r"<\|(?:channel|start)\|>")
BARE_ANALYSIS = re.compile(r"analysis(?=(?:We|The|User|I|Let|Need|Okay|This|It|There|They|Just|Simple)[ ,'])")
_BARE = "analysis"
BARE_FINAL = "assistantfinal"

# What may still become a tag when more comes. The longest has 40 characters.
_BEGINNING = re.compile(r"[<\[◁][|/a-z0-9:_-]{0,40}\Z", re.IGNORECASE)
MAX_TAG = 41
# Special tokens around the answer that follows a thought; they are no text of it.
WRAPPER = re.compile(r"<\|(?:START_RESPONSE|END_RESPONSE|begin_of_solution|end_of_solution)\|>")


class Closing(NamedTuple):
    """
    tags     each of them ends the thought, compared without case; none: any closing tag does
    pattern  finds one
    heading  a word that stands first in the thought and is no part of it
    """

    tags: tuple[str, ...]
    pattern: re.Pattern[str]
    heading: str = ""


def _closing(*tags: str, heading: str = "") -> Closing:
    pattern = "|".join(re.escape(tag) for tag in sorted(tags, key=len, reverse=True))
    return Closing(tuple(tag.lower() for tag in tags), re.compile(pattern, re.IGNORECASE), heading)


@lru_cache(maxsize=256)
def closing_of(opening: str) -> Closing:
    """What closes the thought that `opening` began."""
    tag = opening.lower()
    fixed = {"[think]": "[/think]", "<|inner_prefix|>": "<|inner_suffix|>", _BARE: BARE_FINAL}
    if tag in fixed:
        return _closing(fixed[tag])
    if tag == "<unused94>":
        return _closing("<unused95>", heading="thought")
    if tag == "<|channel>":
        return _closing("<channel|>", heading="thought")
    if tag.startswith("◁"):
        return _closing(f"◁/{tag[1:]}")
    name = tag.strip("<|>")
    for begins in ("begin_", "start_"):
        if name.startswith(begins):
            return _closing(tag.replace(begins, "end_", 1))
    if name.endswith(("_start", "_begin")):
        return _closing(tag.replace(name, f"{name.rpartition('_')[0]}_end"))
    if tag.startswith("<|"):
        return _closing(f"<|/{name}|>", f"</{name}>", f"<|end_{name}|>", "<|end|>")
    return _closing(f"</{name}>")


ANY_CLOSING = Closing((), re.compile(_CLOSING, re.IGNORECASE))
"""For a reply that begins inside a thought whose opening tag stands in the prompt."""


@lru_cache(maxsize=256)
def own_pair(opening: str, closing: str) -> tuple[re.Pattern[str], Closing]:
    """The pattern of either tag of a pair that the configuration names, and what closes a thought; case counts."""
    either = "|".join(re.escape(tag) for tag in sorted((opening, closing), key=len, reverse=True))
    return re.compile(either), Closing((closing,), re.compile(re.escape(closing)))


def unfinished(text: str, tags: tuple[str, ...] = ()) -> int:
    """How many characters at the end of `text` may be the beginning of a tag: of any, or of one of `tags`."""
    if not tags:
        match = _BEGINNING.search(text, max(0, len(text) - MAX_TAG))
        return len(text) - match.start() if match else 0
    longest = max(map(len, tags)) - 1
    for at in range(max(0, len(text) - longest), len(text)):
        rest = text[at:]
        if any(tag.startswith((rest, rest.lower())) for tag in tags):
            return len(text) - at
    return 0


def may_begin(text: str) -> bool:
    """Whether `text` may be the beginning of a tag, or of what a harmony reply begins with."""
    if not text or _BEGINNING.match(text):
        return True
    # The word, which is one token, and then up to the blank that tells a thought from "analysis of".
    return text.startswith(_BARE) and len(text) < 16 and (text == _BARE or text[len(_BARE) :].isalpha())
