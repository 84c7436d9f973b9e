"""Text to token ids: the path that is served, and held equal to what training read by the export's proof.

Letters: T tokens of one text, B texts of a batch, V tokens of a vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tokenizers import Tokenizer

from app.contract.fields import RelativePath
from app.errors import BadRequest, InvalidOption, ModelRejected

NAMED_AT_MOST = 8  # characters in an error's message


class TextProcessor(BaseModel):
    """How a model reads a text: stored in its manifest. `load` gives the tokenizer that does the work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["text"] = "text"
    tokenizer: RelativePath = "tokenizer.json"  # a Hugging Face tokenizers file: normaliser, pre-tokeniser and vocabulary
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    max_tokens: int = Field(gt=0)
    head_tokens: int = Field(ge=0)  # of a longer text the first `head_tokens` and the last `max_tokens - head_tokens` stay
    pad_token: str = "<pad>"
    unknown_token: str = "<unk>"

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if self.head_tokens > self.max_tokens:
            raise ValueError("head_tokens must not exceed max_tokens")
        return self

    def load(self, directory: Path) -> WordTokenizer:
        try:
            return WordTokenizer(Tokenizer.from_file(str(directory / self.tokenizer)), self)
        except Exception as error:  # tokenizers raises Exception itself
            raise ModelRejected(f"{self.tokenizer} does not fit the manifest's processor: {' '.join(str(error).split())[:200]}") from None


@dataclass(frozen=True)
class Encoding:
    """One text as the model sees it."""

    input_ids: NDArray[np.int64]  # (T,), at least one token
    offsets: tuple[tuple[int, int], ...]  # T character spans into the text; an empty span where no character stands behind a token
    truncated: bool


class WordTokenizer:
    """A tokenizers file with a rule for long texts and one for empty ones."""

    def __init__(self, tokenizer: Tokenizer, processor: TextProcessor) -> None:
        self._tokenizer = tokenizer
        self._processor = processor
        self.pad_id = self._id(processor.pad_token)
        self.unknown_id = self._id(processor.unknown_token)
        self.head_tokens = processor.head_tokens
        self.max_tokens = processor.max_tokens
        self.vocabulary_size: int = tokenizer.get_vocab_size()

    def encode(self, text: str) -> Encoding:
        """Token ids of one text. A text without a token becomes one unknown token.

        Raises InvalidOption for a lone surrogate, which is no character.
        """
        if not _is_unicode(text):
            raise InvalidOption("the text holds a lone surrogate, which is not a Unicode character", param="text")
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        ids, offsets = encoded.ids, encoded.offsets
        if not ids:
            ids, offsets = [self.unknown_id], [(0, 0)]
        kept = self._kept(len(ids))
        return Encoding(
            input_ids=np.array([ids[i] for i in kept], dtype=np.int64),
            offsets=tuple(offsets[i] for i in kept),
            truncated=len(kept) < len(ids),
        )

    def _kept(self, count: int) -> list[int]:
        maximum, head = self._processor.max_tokens, self._processor.head_tokens
        if count <= maximum:
            return list(range(count))
        return [*range(head), *range(count - (maximum - head), count)]

    def _id(self, token: str) -> int:
        token_id = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise ValueError(f"the tokenizer file has no token {token!r}")
        return int(token_id)


class CharacterProcessor(BaseModel):
    """The alphabet of a character model, stored whole in its manifest: a character's id is its index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["characters"] = "characters"
    characters: str = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        twice = sorted(character for character, count in Counter(self.characters).items() if count > 1)
        if twice:
            raise ValueError(f"characters must be distinct; more than once: {_named(twice)}")
        return self

    def load(self) -> CharTokenizer:
        return CharTokenizer(self.characters)


class CharTokenizer:
    """One id a character, there and back. A character is a Unicode code point; nothing is normalised."""

    def __init__(self, characters: str) -> None:
        self.characters = characters  # (V,)
        self._ids = {character: index for index, character in enumerate(characters)}

    @property
    def vocabulary_size(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Ids of a text, (T,). Raises InvalidOption that names the characters which are not in the alphabet."""
        try:
            return np.array([self._ids[character] for character in text], dtype=np.int64)
        except KeyError:
            raise InvalidOption(f"characters that this model does not know: {_named(self.unknown(text))}", param="prompt") from None

    def unknown(self, text: str) -> list[str]:
        """The distinct characters that are not in the alphabet, in the order in which they come."""
        return [character for character in dict.fromkeys(text) if character not in self._ids]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.characters[index] for index in ids)


def pad(sequences: list[NDArray[np.int64]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequences of any length to (input_ids (B, T), lengths (B,)), padded on the right."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    input_ids = np.full((len(sequences), int(lengths.max())), pad_id, dtype=np.int64)  # (B, T)
    for row, sequence in zip(input_ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return input_ids, lengths


def check_padded(input_ids: NDArray[np.int64], lengths: NDArray[np.int64], vocabulary_size: int) -> None:
    """Whether (input_ids (B, T), lengths (B,)) of a client could be what `pad` gives. Raises BadRequest."""
    if len(input_ids) != len(lengths):
        raise BadRequest(f"input_ids has {len(input_ids):,} rows, lengths has {len(lengths):,}")
    if not lengths.size:
        return
    if not input_ids.size:
        raise BadRequest("input_ids is empty: its second axis has the length 0", param="input_ids")
    if lengths.min() < 1 or lengths.max() > input_ids.shape[1]:
        raise BadRequest(f"lengths must be between 1 and {input_ids.shape[1]:,}, the second axis of input_ids", param="lengths")
    if input_ids.min() < 0 or input_ids.max() >= vocabulary_size:
        raise BadRequest(f"input_ids must be between 0 and {vocabulary_size - 1:,}, the last token of the vocabulary", param="input_ids")


def _named(characters: Sequence[str]) -> str:
    """The first eight, escaped where they cannot be printed: 'é', '\\u200b' and 3 more."""
    more = f" and {len(characters) - NAMED_AT_MOST} more" if len(characters) > NAMED_AT_MOST else ""
    return ", ".join(repr(character) for character in characters[:NAMED_AT_MOST]) + more


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
