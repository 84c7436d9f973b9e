"""The files of a model's folder: inside it, to be read, and what the manifest says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from app.errors import ModelRejected


def check_file(directory: Path, name: str, expected: str | None) -> None:
    """It is there, inside the folder, can be read, and has this sha256 if one is given. Raises ModelRejected."""
    try:
        path = (directory / name).resolve()
        inside, there = path.is_relative_to(directory.resolve()), path.is_file()
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself, before Python 3.13
        raise ModelRejected(f"{name} cannot be found ({type(error).__name__}); see where it leads, or export the model again") from None
    if not inside:
        raise ModelRejected(f"{name} points outside the model's folder; copy the file into it")
    if not there:
        raise ModelRejected(f"{name} is missing; export the model again, or copy the file into its folder")
    with readable(path) as file:
        if expected is not None and hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise ModelRejected(f"the sha256 of {name} is not the manifest's; restore the file or export the model again")


@contextmanager
def readable(path: Path) -> Iterator[BufferedReader]:
    """The file, open. Raises ModelRejected where this process may not read it."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ModelRejected(f"{path.name} cannot be read ({error.strerror}); let the server's user read it") from None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
