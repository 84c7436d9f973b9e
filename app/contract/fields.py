"""Kinds of text in a manifest, and how text is said that may not be of the kind."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field


def _inside_the_folder(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or not name.isprintable() or len(name) > 200:
        raise ValueError("must be a path inside the model's folder")
    return name


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of characters that print")
    return text


RelativePath = Annotated[str, AfterValidator(_inside_the_folder)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Line = Annotated[str, AfterValidator(_one_line)]


def printable(text: str) -> str:
    """What does not print is escaped: what stands in a file writes no lines of its own into a log, and no colours into a terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
