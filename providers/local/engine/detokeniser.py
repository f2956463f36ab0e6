"""Tokens to text, one at a time, in time linear in the tokens; never half a character.

A byte-level tokeniser's token is a run of bytes, and the reply is those bytes read as UTF-8: each token is looked up
once, and an incremental decoder keeps what is not a whole character yet. Other tokenisers (sentencepiece's, with a
space that belongs to the next word) are read through a window: the text of the last few tokens with the new one, less
their text without it.
"""

from __future__ import annotations

import codecs

from tokenizers import Tokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def byte_alphabet() -> dict[str, int]:
    """GPT-2's way of writing bytes as printable characters: character → byte.

    Printable Latin-1 stands for itself; the other bytes, in order, are the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


class ByteVocabulary:
    """Every token of a byte-level tokeniser as bytes; special tokens are no text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        alphabet = byte_alphabet()
        added = tokenizer.get_added_tokens_decoder()
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        self.bytes_of = [b""] * (max(vocabulary.values()) + 1)
        self._special = {token: added[token].content.encode() for token in added if added[token].special}
        for text, token in vocabulary.items():
            if token in added and added[token].special:
                continue
            if token not in added and alphabet.keys() >= set(text):
                self.bytes_of[token] = bytes(alphabet[character] for character in text)
            else:
                self.bytes_of[token] = text.encode()

    def of(self, token: int) -> bytes:
        """The token's bytes; none for an id that the tokeniser does not know (a padded vocabulary has such)."""
        return self.bytes_of[token] if token < len(self.bytes_of) else b""

    def detokeniser(self, special: bool = False) -> ByteDetokeniser:
        """special   whether special tokens are text too"""
        return ByteDetokeniser(self, self._special if special else {})


class ByteDetokeniser:
    """One reply's text."""

    def __init__(self, vocabulary: ByteVocabulary, special: dict[int, bytes]) -> None:
        self._vocabulary = vocabulary
        self._special = special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that `token` completes; often none, or several."""
        return self._decoder.decode(self._special.get(token) or self._vocabulary.of(token))


class WindowVocabulary:
    """Tokens of any other tokeniser, read through the tokeniser's own decoder."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}

    def decode(self, tokens: list[int], special: bool = False) -> str:
        """special   whether special tokens are text too"""
        if special:
            return self._tokenizer.decode(tokens, skip_special_tokens=False)
        return self._tokenizer.decode([token for token in tokens if token not in self._special])

    def of(self, token: int) -> bytes:
        """The token's bytes as its text tells them: behind itself, where the decoder drops no space of it."""
        return self.decode([token, token])[len(self.decode([token])) :].encode()

    def detokeniser(self, special: bool = False) -> WindowDetokeniser:
        """special   whether special tokens are text too"""
        return WindowDetokeniser(self, special)


class WindowDetokeniser:
    """The window begins a few tokens back: what the decoder does at a beginning (dropping a space) is in both texts."""

    # A character has at most four bytes: after this many tokens an unfinished one will not be finished any more.
    MAX_HELD = 8

    def __init__(self, vocabulary: WindowVocabulary, special: bool) -> None:
        self._vocabulary = vocabulary
        self._special = special
        self._shown: list[int] = []
        self._held: list[int] = []

    def push(self, token: int) -> str:
        self._held.append(token)
        before = self._vocabulary.decode(self._shown, self._special)
        after = self._vocabulary.decode(self._shown + self._held, self._special)
        if after.endswith(REPLACEMENT) and len(self._held) < self.MAX_HELD:
            return ""
        self._shown, self._held = self._held[-self.MAX_HELD :], []
        return after[len(before) :]


Vocabulary = ByteVocabulary | WindowVocabulary
Detokeniser = ByteDetokeniser | WindowDetokeniser


def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """The way this tokeniser's tokens become text."""
    byte_level = type(tokenizer.decoder).__name__ == "ByteLevel"
    return ByteVocabulary(tokenizer) if byte_level else WindowVocabulary(tokenizer)
