"""IMDB's reviews (Maas et al. 2011) as plain records, from a folder or straight from an archive."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.kit.data import DataError

UNLABELLED, NEGATIVE, POSITIVE = -1, 0, 1
LABELS = {"neg": NEGATIVE, "pos": POSITIVE, "unsup": UNLABELLED}
MEMBER = re.compile(r"(?:^|/)(train|test)/(neg|pos|unsup)/(\d+)_(\d+)\.txt$")


@dataclass(frozen=True)
class Review:
    part: str  # "train" or "test", as published
    label: int  # NEGATIVE, POSITIVE or UNLABELLED
    number: int  # within its folder; the reviews of one film have consecutive numbers
    stars: int  # 1 to 10; 0 where unlabelled
    text: str


def read_reviews(source: Path) -> Iterator[Review]:
    """Every review of `aclImdb/` or of a tar archive that holds it."""
    found = _from_folder(source) if source.is_dir() else _from_archive(source)
    for name, content in found:
        match = MEMBER.search(name)
        if match:
            part, folder, number, stars = match.groups()
            yield Review(part, LABELS[folder], int(number), int(stars), content.decode("utf-8"))


def _from_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("t*/*/*.txt")):
        yield path.as_posix(), path.read_bytes()


def _from_archive(archive: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield member.name, file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive} is damaged or no tar archive: remove it and run prepare again") from error
