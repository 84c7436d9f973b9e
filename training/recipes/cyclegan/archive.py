"""Where the two heaps of pictures lie: horse2zebra as a tar file or a folder, any two folders, or synthetic ones."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.contract.files import sha256
from training.kit.data import DataError, Source, download, extract
from training.kit.run import Run
from training.recipes.cyclegan import synthetic
from training.recipes.cyclegan.config import Config

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PAPER = "https://github.com/junyanz/CycleGAN"
RESEARCH = "ImageNet photographs: research use"
NAME = "horse2zebra (Zhu et al. 2017)"
OFFICIAL = Source(
    url="http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/horse2zebra.zip",  # 117 MB
    file="horse2zebra.zip",
    checksum="sha256:a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",  # as TensorFlow Datasets has it
)


@dataclass(frozen=True)
class Heap:
    """The pictures of one domain: their names in order, a way to a picture's bytes, and what identifies them."""

    names: list[str]
    read: Callable[[str], bytes]
    source: dict[str, str]  # name, source, sha256, licence


def find_heaps(run: Run[Config]) -> tuple[Heap, Heap]:
    config = run.config
    if config.domain_a or config.domain_b:
        if not (config.domain_a and config.domain_b):
            raise DataError("two folders make a run: give --domain-a and --domain-b")
        return own_folder(Path(config.domain_a)), own_folder(Path(config.domain_b))
    if config.synthetic_pictures:
        folders = synthetic.draw(run.directory / "synthetic-data", config.synthetic_pictures, config.seed)
        source = {"source": "drawn by training/recipes/cyclegan/synthetic.py", "licence": "MIT"}
        return from_folder(folders[0], "synthetic blobs", **source), from_folder(folders[1], "synthetic blobs", **source)
    if run.data_root is None:
        raise DataError(
            "name the folder that holds horse2zebra with --data-root or AXON_DATA, or two folders with --domain-a and --domain-b"
        )
    return horse2zebra(run.data_root)


def horse2zebra(root: Path, official: Source = OFFICIAL) -> tuple[Heap, Heap]:
    """ROOT/horse2zebra.tar, or the folder ROOT/horse2zebra, downloaded there if neither is; trainA and trainB only."""
    packed, folder = root / "horse2zebra.tar", root / "horse2zebra"
    if packed.is_file():
        return from_tar(packed, "trainA"), from_tar(packed, "trainB")
    if not ((folder / "trainA").is_dir() and (folder / "trainB").is_dir()):
        _unpack(download(official, root), folder)
    described = {"source": PAPER, "licence": RESEARCH}
    return from_folder(folder / "trainA", NAME, **described), from_folder(folder / "trainB", NAME, **described)


def _unpack(archive: Path, folder: Path) -> None:
    """Whole or not at all. Raises DataError."""
    if folder.exists():
        raise DataError(f"{folder} holds no trainA and trainB: remove it, and `prepare` unpacks {archive.name} in its place")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (extract(archive, partial) / folder.name).rename(folder)
    shutil.rmtree(partial)


def from_tar(path: Path, side: str) -> Heap:
    """The pictures in a folder called `side` of a tar file."""
    with tarfile.open(path) as archive:
        members = [member for member in archive if member.isfile() and Path(member.name).parent.name == side and _is_picture(member.name)]
        contents = {Path(member.name).name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    return _heap(contents.__getitem__, sorted(contents), path, {"name": NAME, "source": PAPER, "sha256": sha256(path), "licence": RESEARCH})


def own_folder(folder: Path) -> Heap:
    return from_folder(folder, folder.name, source="a folder of the user's", licence="the user's")


def from_folder(folder: Path, name: str, source: str, licence: str) -> Heap:
    """The pictures that lie in a folder or below it. Its sha256 is over the names and the contents of all."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and _is_picture(path.name))
    digest = hashlib.sha256()
    for relative in names:
        digest.update(relative.encode() + b"\0" + (folder / relative).read_bytes())
    described = {"name": name, "source": source, "sha256": digest.hexdigest(), "licence": licence}
    return _heap(lambda relative: (folder / relative).read_bytes(), names, folder, described)


def _heap(read: Callable[[str], bytes], names: list[str], where: Path, source: dict[str, str]) -> Heap:
    if len(names) < 2:
        raise DataError(f"{where} holds {len(names)} pictures (JPEG, PNG or WebP); a domain needs some to learn from and some to hold out")
    return Heap(names, read, source)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
