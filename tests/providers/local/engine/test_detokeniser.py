from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers

from providers.local.engine.detokeniser import ByteVocabulary, WindowVocabulary, vocabulary
from tests.providers.local.models import make_tokenizer


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def sentencepiece() -> Tokenizer:
    """Llama 2's kind: a leading space is part of a word, and bytes without a token of their own are `<0x…>`."""
    words = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{n:02X}>" for n in range(256)),
        "▁",
        "▁hello",
        "▁world",
        "wor",
        "ld",
        "!",
        "站",
    ]
    tokenizer = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer


def pieces(tokenizer: Tokenizer, tokens: list[int]) -> list[str]:
    detokeniser = vocabulary(tokenizer).detokeniser()
    return [detokeniser.push(token) for token in tokens]


def test_each_kind_of_tokeniser_is_read_its_own_way(byte_level, sentencepiece):
    assert isinstance(vocabulary(byte_level), ByteVocabulary)
    assert isinstance(vocabulary(sentencepiece), WindowVocabulary)


@given(text=st.text(max_size=40))
def test_the_pieces_of_any_text_join_to_that_text(byte_level, text):
    assert "".join(pieces(byte_level, byte_level.encode(text).ids)) == text


def test_chinese_comes_character_by_character(byte_level):
    byte_for_byte = [byte_level.token_to_id(token) for token in "ç«Ļ"] * 3
    assert pieces(byte_level, byte_for_byte) == ["", "", "站"] * 3


@given(tokens=st.lists(st.integers(0, 399), max_size=40))
def test_any_tokens_read_as_the_tokeniser_reads_them_but_for_a_character_not_finished(byte_level, tokens):
    whole = byte_level.decode(tokens, skip_special_tokens=True)
    shown = "".join(pieces(byte_level, tokens))
    assert whole.startswith(shown)
    assert set(whole[len(shown) :]) <= {"\N{REPLACEMENT CHARACTER}"}


def test_a_token_beyond_the_vocabulary_is_no_text(byte_level):
    assert pieces(byte_level, [5000]) == [""]


def test_special_tokens_are_no_text(byte_level, sentencepiece):
    assert pieces(byte_level, [byte_level.token_to_id("<|im_end|>")]) == [""]
    assert pieces(sentencepiece, [sentencepiece.token_to_id("</s>")]) == [""]


def test_a_words_leading_space_is_kept_between_words_and_dropped_at_the_beginning(sentencepiece):
    tokens = [sentencepiece.token_to_id(word) for word in ("▁hello", "▁world", "!", "▁hello")]
    assert pieces(sentencepiece, tokens) == ["hello", " world", "!", " hello"]


def test_bytes_without_a_token_come_as_whole_characters(sentencepiece):
    tokens = [sentencepiece.token_to_id(f"<0x{byte:02X}>") for byte in "桥".encode()]
    assert pieces(sentencepiece, [*tokens, *tokens]) == ["", "", "桥"] * 2


def test_bytes_that_never_become_a_character_do_not_hold_the_text_back_for_ever(sentencepiece):
    broken = [sentencepiece.token_to_id("<0xE6>")] * 12
    assert any(pieces(sentencepiece, broken))


def test_a_token_alone_tells_its_leading_space(sentencepiece):
    of = vocabulary(sentencepiece).of
    assert [of(sentencepiece.token_to_id(word)) for word in ("▁hello", "!", "</s>")] == [b" hello", b"!", b""]
