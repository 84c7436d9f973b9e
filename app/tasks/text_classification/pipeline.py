"""Text -> token ids -> logits -> calibrated probabilities, and occlusion to explain them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.contract.classification import softmax
from app.contract.manifest import ModelManifest, TensorSpec
from app.contract.text import Encoding, TextProcessor, WordTokenizer, check_padded, pad
from app.errors import BadRequest, InputTooLarge, InvalidOption, ModelRejected
from app.runtime.options import Limits
from app.runtime.served_model import ServedModel

OFFSET_BYTES = 128  # a pair of whole numbers, as Python holds it, and the way to it
MAX_OCCLUSIONS = 64  # runs that an explanation may cost; a longer text is occluded in spans of several tokens

TAKES = (TensorSpec(name="input_ids", datatype="INT64", shape=(-1, -1)), TensorSpec(name="lengths", datatype="INT64", shape=(-1,)))


@dataclass(frozen=True, slots=True)
class TextOptions:
    explain: bool = False


@dataclass(frozen=True, slots=True)
class TextRow:
    """One entry of a batch: a text, or a text with a span taken out."""

    input_ids: NDArray[np.int64]  # (T,)
    encoding: Encoding  # of the whole text
    span: tuple[int, int] | None = None  # tokens taken out

    @property
    def nbytes(self) -> int:
        """In memory; what the rows of one text share counts with the whole one."""
        return self.input_ids.nbytes + (0 if self.span else OFFSET_BYTES * len(self.encoding.offsets))


@dataclass(frozen=True, slots=True)
class SpanContribution:
    start: int  # characters
    end: int
    contribution: float


@dataclass(frozen=True, slots=True)
class TextClassification:
    """One text's answer, before it is written as JSON."""

    probabilities: NDArray[np.float64]  # (labels,)
    truncated: bool
    contributions: list[SpanContribution] | None


class TextClassificationPipeline:
    """The procedure around one classifier."""

    task = "text-classification"
    served_by = ServedModel
    encoded_input = TensorSpec(name="text", datatype="BYTES", shape=(-1,))  # UTF-8
    postprocess_blocks = False

    def __init__(self, manifest: ModelManifest, tokenizer: WordTokenizer, limits: Limits) -> None:
        self._manifest = manifest
        self._tokenizer = tokenizer
        self._limits = limits

    @classmethod
    def load(cls, manifest: ModelManifest, directory: Path, limits: Limits = Limits()) -> Self:  # noqa: B008 - it is frozen
        if not isinstance(manifest.processor, TextProcessor) or not manifest.labels:
            raise ModelRejected("text-classification wants a text processor and labels; complete manifest.json")
        wanted = TAKES, (TensorSpec(name="logits", datatype="FP32", shape=(-1, len(manifest.labels))),)
        graph = manifest.graphs["model"]
        if (tuple(sorted(graph.inputs, key=lambda spec: spec.name)), graph.outputs) != wanted:
            raise ModelRejected(
                "text-classification wants a graph from input_ids, INT64 [-1, -1], and lengths, INT64 [-1], to the logits of its labels, "
                f"FP32 {[-1, len(manifest.labels)]}; export the model again"
            )
        if len(manifest.labels) < 2:
            raise ModelRejected("text-classification wants two labels or more: of one alone the probability is always 1")
        return cls(manifest, manifest.processor.load(directory), limits)

    def default_options(self) -> TextOptions:
        return TextOptions()

    def check(self, texts: Sequence[str]) -> None:
        """Whether these may come in one request. Raises InvalidOption, InputTooLarge."""
        if len(texts) > self._limits.max_texts:
            raise InputTooLarge(f"{len(texts):,} texts in one request; the limit is {self._limits.max_texts:,}", param="text")
        for text in texts:
            if not text.strip():
                raise InvalidOption("text must not be empty", param="text")
            if len(text) > self._limits.max_text_chars:
                raise InputTooLarge(f"a text has {len(text):,} characters; the limit is {self._limits.max_text_chars:,}", param="text")

    def preprocess(self, item: str, options: TextOptions) -> list[TextRow]:
        """A text to its own row, and, to explain it, one more for each span taken out."""
        encoding = self._tokenizer.encode(item)
        rows = [TextRow(encoding.input_ids, encoding)]
        if options.explain:
            rows += [TextRow(self._without(encoding, span), encoding, span) for span in self._spans(encoding)]
        return rows

    def _without(self, encoding: Encoding, span: tuple[int, int]) -> NDArray[np.int64]:
        """The other tokens; where there are none, the unknown one, as for a text without a token."""
        rest = np.delete(encoding.input_ids, slice(*span))
        return rest if len(rest) else np.array([self._tokenizer.unknown_id], encoding.input_ids.dtype)

    def _spans(self, encoding: Encoding) -> list[tuple[int, int]]:
        """The spans to take out: none reaches over the gap where a long text lost its middle."""
        spans = _even_spans(len(encoding.input_ids))
        if not encoding.truncated:
            return spans
        gap = self._tokenizer.head_tokens
        cuts = [[(start, gap), (gap, end)] if start < gap < end else [(start, end)] for start, end in spans]
        return [span for pieces in cuts for span in pieces]

    def rows(self, inputs: dict[str, NDArray[Any]]) -> Iterator[TextRow]:
        if self.encoded_input.name in inputs:
            texts = [_decoded(item) for item in inputs[self.encoded_input.name]]
            self.check(texts)
            for text in texts:
                yield from self.preprocess(text, self.default_options())
            return
        input_ids, lengths = inputs["input_ids"], inputs["lengths"]  # (B, T), (B,)
        check_padded(input_ids, lengths, self._tokenizer.vocabulary_size)
        if lengths.size and lengths.max() > self._tokenizer.max_tokens:
            raise InputTooLarge(f"a row has {lengths.max():,} tokens; the model reads {self._tokenizer.max_tokens:,}", param="lengths")
        for ids, length in zip(input_ids, lengths, strict=True):
            yield TextRow(ids[:length], Encoding(ids[:length], offsets=(), truncated=False))

    def bucket(self, row: TextRow) -> Hashable:
        """Lengths between two powers of two share a batch, so that padding stays under half."""
        return (len(row.input_ids) - 1).bit_length()

    def pixels(self, row: TextRow) -> int:
        return 0

    def collate(self, rows: Sequence[TextRow]) -> dict[str, NDArray[Any]]:
        input_ids, lengths = pad([row.input_ids for row in rows], self._tokenizer.pad_id)  # (B, T), (B,)
        return {"input_ids": input_ids, "lengths": lengths}

    def postprocess(self, rows: list[TextRow], outputs: list[dict[str, NDArray[Any]]], options: TextOptions) -> TextClassification:
        logits = np.stack([output["logits"] for output in outputs])  # (rows, labels)
        probabilities = softmax(logits, self._manifest.temperature)
        label = int(probabilities[0].argmax())
        contributions = [
            SpanContribution(*_characters(row), contribution=float(probabilities[0, label] - without[label]))
            for row, without in zip(rows[1:], probabilities[1:], strict=True)
        ]
        return TextClassification(probabilities[0], rows[0].encoding.truncated, contributions if options.explain else None)


def _decoded(item: bytes) -> str:
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("text must be UTF-8", param="text") from None


def _even_spans(tokens: int) -> list[tuple[int, int]]:
    """At most MAX_OCCLUSIONS spans of equal length that cover the tokens."""
    width = -(-tokens // MAX_OCCLUSIONS)
    return [(start, min(start + width, tokens)) for start in range(0, tokens, width)]


def _characters(row: TextRow) -> tuple[int, int]:
    """The characters that the row's missing span covered."""
    assert row.span is not None
    first, last = row.span
    return row.encoding.offsets[first][0], row.encoding.offsets[last - 1][1]
