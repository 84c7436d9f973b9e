"""The words of a model card: what people should know of a model beside the figures. They go into the manifest."""

from __future__ import annotations

from dataclasses import dataclass

from app.contract.manifest import License


@dataclass(frozen=True)
class Card:
    title: str
    description: str
    license: License
    intended_use: str
    limitations: tuple[str, ...]
