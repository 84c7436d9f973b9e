"""The words of a model card: what people should know of a model beside the figures. They go into the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.contract.manifest import License

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def in_words(number: int) -> str:
    return WORDS[number] if number < len(WORDS) else f"{number:,}"


def listed(names: Sequence[str], word: str = "and") -> str:
    """`a, b and c`."""
    return f" {word} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


@dataclass(frozen=True)
class Card:
    title: str
    description: str
    license: License
    intended_use: str
    limitations: tuple[str, ...]
