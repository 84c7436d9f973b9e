"""Text to token ids: cut, empty, broken and padded texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.contract.text import CharacterProcessor, TextProcessor, WordTokenizer, pad
from app.errors import InvalidOption, ModelRejected
from tests.model_repository import WORDS, write_tokenizer

IDS = {word: index for index, word in enumerate(WORDS)}
SHA256 = "0" * 64


@pytest.fixture
def tokenizer(tmp_path: Path) -> WordTokenizer:
    return make_tokenizer(tmp_path, max_tokens=5, head_tokens=2)


def make_tokenizer(folder: Path, **fields: Any) -> WordTokenizer:
    write_tokenizer(folder / "tokenizer.json")
    return TextProcessor(sha256=SHA256, **fields).load(folder)


def words(tokenizer: WordTokenizer, text: str) -> list[str]:
    names = {index: word for word, index in IDS.items()}
    return [names[int(token)] for token in tokenizer.encode(text).input_ids]


def test_words_become_ids_with_the_characters_behind_them(tokenizer: WordTokenizer) -> None:
    encoding = tokenizer.encode("The GOOD  film")
    assert encoding.input_ids.tolist() == [IDS["the"], IDS["good"], IDS["film"]]
    assert encoding.input_ids.dtype == np.int64
    assert encoding.offsets == ((0, 3), (4, 8), (10, 14))
    assert not encoding.truncated


def test_a_long_text_keeps_its_head_and_its_tail(tokenizer: WordTokenizer) -> None:
    encoding = tokenizer.encode("good bad the the the film not good")
    assert encoding.input_ids.tolist() == [IDS[word] for word in ("good", "bad", "film", "not", "good")]
    assert encoding.offsets[1:3] == ((5, 8), (21, 25))
    assert encoding.truncated


def test_a_text_of_exactly_the_limit_is_whole(tokenizer: WordTokenizer) -> None:
    encoding = tokenizer.encode("good bad the film not")
    assert (len(encoding.input_ids), encoding.truncated) == (5, False)


@pytest.mark.parametrize(("head", "kept"), [(0, ["the", "film"]), (1, ["good", "film"]), (2, ["good", "bad"])])
def test_the_head_may_be_nothing_or_everything(tmp_path: Path, head: int, kept: list[str]) -> None:
    tokenizer = make_tokenizer(tmp_path, max_tokens=2, head_tokens=head)
    assert words(tokenizer, "good bad the film") == kept


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_a_text_without_a_token_becomes_one_unknown_token(tokenizer: WordTokenizer, text: str) -> None:
    encoding = tokenizer.encode(text)
    assert encoding.input_ids.tolist() == [IDS["<unk>"]]
    assert encoding.offsets == ((0, 0),)


def test_a_word_outside_the_vocabulary_is_unknown(tokenizer: WordTokenizer) -> None:
    assert words(tokenizer, "good quux") == ["good", "<unk>"]


def test_the_padding_cannot_be_written_by_a_client(tokenizer: WordTokenizer) -> None:
    assert "<pad>" not in words(tokenizer, "good <pad>")


@pytest.mark.parametrize("text", ["\ud800", "good \udfff", "\udc80 film"])
def test_a_lone_surrogate_is_refused(tokenizer: WordTokenizer, text: str) -> None:
    with pytest.raises(InvalidOption, match="lone surrogate") as caught:
        tokenizer.encode(text)
    assert caught.value.param == "text"


def test_offsets_count_characters_of_the_text_as_it_was_sent(tokenizer: WordTokenizer) -> None:
    text = "\N{GRINNING FACE} \N{LATIN CAPITAL LETTER I WITH DOT ABOVE} good"
    start, end = tokenizer.encode(text).offsets[-1]
    assert text[start:end] == "good"


@pytest.mark.parametrize("text", ["\0", "\u202e good", "e\u0301" * 50, "\U0010ffff", "good" * 3000])
def test_strange_characters_are_words_like_others(tokenizer: WordTokenizer, text: str) -> None:
    encoding = tokenizer.encode(text)
    assert 1 <= len(encoding.input_ids) <= 5
    assert len(encoding.offsets) == len(encoding.input_ids)


def test_the_vocabulary_is_counted_with_its_special_words(tokenizer: WordTokenizer) -> None:
    assert tokenizer.vocabulary_size == len(WORDS)
    assert (tokenizer.pad_id, tokenizer.unknown_id) == (0, 1)


def test_a_tokenizer_without_the_special_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="no token '<blank>'"):
        make_tokenizer(tmp_path, max_tokens=5, head_tokens=2, pad_token="<blank>")


def test_a_head_longer_than_the_whole_is_refused() -> None:
    with pytest.raises(ValidationError, match="head_tokens must not exceed max_tokens"):
        TextProcessor(sha256=SHA256, max_tokens=5, head_tokens=6)


def test_padding_goes_to_the_right_and_lengths_remember() -> None:
    input_ids, lengths = pad([np.array([4, 5]), np.array([6]), np.array([7, 8, 9])], pad_id=0)
    assert input_ids.tolist() == [[4, 5, 0], [6, 0, 0], [7, 8, 9]]
    assert lengths.tolist() == [2, 1, 3]
    assert input_ids.dtype == lengths.dtype == np.int64


def test_a_character_is_its_place_in_the_alphabet() -> None:
    tokenizer = CharacterProcessor(characters="\n abc").load()
    ids = tokenizer.encode("cab\na")
    assert ids.tolist() == [4, 2, 3, 0, 2]
    assert ids.dtype == np.int64
    assert tokenizer.vocabulary_size == 5


def test_characters_come_back_as_they_went_in() -> None:
    text = "\n\u00e9e\u0301\U0001f600 "  # an accent apart stays apart, a character beyond 16 bits is one
    tokenizer = CharacterProcessor(characters=text).load()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("\U0001f600").shape == (1,)


def test_no_character_is_no_id() -> None:
    ids = CharacterProcessor(characters="ab").load().encode("")
    assert (ids.shape, ids.dtype) == ((0,), np.int64)


def test_the_alphabet_keeps_its_order() -> None:
    assert CharacterProcessor(characters="ba").load().encode("ab").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("abAb\u00e9aA", "'A', '\u00e9'"),
        ("\u200b", "'\\u200b'"),
        ("\ud800", "'\\ud800'"),
        ("01234567", "'0', '1', '2', '3', '4', '5', '6', '7'"),
        ("0123456789" * 9, "'0', '1', '2', '3', '4', '5', '6', '7' and 2 more"),
    ],
)
def test_characters_outside_the_alphabet_are_named_once_each_and_at_most_eight(text: str, named: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        CharacterProcessor(characters="ab").load().encode(text)
    assert caught.value.message == f"characters that this model does not know: {named}"
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(("characters", "says"), [("abcb", "more than once: 'b'"), ("", "at least 1 character")])
def test_an_alphabet_without_order_is_refused(characters: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CharacterProcessor(characters=characters)
