"""The terms of a text, for comparing questions with names, comments and other questions.

ASCII words are split at underscores and capitals, lowered, and lose a plural's s; Chinese has no spaces, so every two
neighbouring characters are a term.
"""

from __future__ import annotations

import re

_PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[\u3400-\u9fff\uf900-\ufaff]+")
# Words that questions have and that say nothing about what they are about.
_ENGLISH = (
    "a an the of in on at by for to from with and or is are was were be been do does did has have had what which who "
    "how many much when where why show list give me all each every per there their its it this that most least than "
    "table id name no code time date type status"
)
_CHINESE = "的了是在有和与及或每各哪些么吗呢我你他请查询统计列出显示给出多少几个所有全部最表"
COMMON = frozenset(_ENGLISH.split()) | frozenset(_CHINESE)


def terms(text: str) -> list[str]:
    """The terms of `text`, in order, repeated as often as they occur."""
    words = []
    for piece in _PIECES.findall(text):
        if piece[0] >= "\u3400":
            words += [piece[n : n + 2] for n in range(len(piece) - 1)] or [piece]
        else:
            word = stem(piece.lower())
            if word not in COMMON:
                words.append(word)
    return [term for term in words if term not in COMMON and not all(character in COMMON for character in term)]


def stem(word: str) -> str:
    """`word` without an English plural's ending."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        return word[:-1]
    return word
