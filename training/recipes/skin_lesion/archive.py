"""HAM10000 on disk, in any of its usual layouts: a tar file, one folder of images, or the two parts as folders or zips."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.kit.data import DataError, Source, download, extract
from training.kit.run import Run
from training.recipes.skin_lesion.config import Config

DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile"  # of doi:10.7910/DVN/DBW86T, with its MD5 sums
METADATA = Source(f"{DATAVERSE}/4338392?format=original", "HAM10000_metadata.csv", "md5:8f85fb1aa29d80a2797247e434deb79d")
IMAGES = (
    Source(f"{DATAVERSE}/3172585", "HAM10000_images_part_1.zip", "md5:4639bfa73ab251610530a97c898e6e46"),
    Source(f"{DATAVERSE}/3172584", "HAM10000_images_part_2.zip", "md5:da43d6cc50f6613013be07e8986b384b"),
)


@dataclass(frozen=True)
class Record:
    """One image of one lesion; unknown age is None, unknown sex or site is "unknown"."""

    image_id: str
    lesion_id: str
    diagnosis: str
    age: float | None
    sex: str
    site: str


@dataclass(frozen=True)
class Archive:
    """A data set found on disk: its records, a way to an image's bytes, and what identifies it."""

    name: str
    sha256: str  # of the archive, or of the metadata where the data set is a folder
    records: list[Record]
    read: Callable[[str], bytes]


def find_archive(run: Run[Config]) -> Archive:
    """HAM10000 under the data root, downloaded there if it is not, or the synthetic lesions of a preset that needs no data set."""
    if run.config.synthetic_lesions:
        return _from_folder(run.directory / "synthetic-data", "synthetic lesions (drawn by the recipe)")
    if run.data_root is None:
        raise DataError("name the folder that holds HAM10000 with --data-root or AXON_DATA")
    archives = sorted(run.data_root.glob("[hH][aA][mM]10000*.tar"))
    if archives:
        return _from_tar(archives[0])
    folders = [run.data_root, run.data_root / "HAM10000", run.data_root / "ham10000"]
    for folder in folders:
        if _metadata_files(folder):
            return _from_folder(folder, "HAM10000")
    packed = next((folder for folder in folders if _packed_images(folder)), run.data_root / "HAM10000")
    return _from_folder(fetch(packed), "HAM10000")


def fetch(folder: Path, metadata: Source = METADATA, images: tuple[Source, ...] = IMAGES) -> Path:
    """Download from its official place (2.8 GB) what is not there. An interrupted download goes on at the next call."""
    for source in images:
        download(source, folder)
    download(metadata, folder)  # last: its presence means that the folder is complete
    return folder


def _unpack_what_is_missing(folder: Path) -> None:
    """Each zip of images beside the metadata, whole or not at all."""
    there = {path.name for path in folder.rglob("*.jpg")}
    for packed in _packed_images(folder):
        with zipfile.ZipFile(packed) as archive:
            images = {Path(name).name for name in archive.namelist() if name.endswith(".jpg")}
        if images <= there:
            continue
        unpacked, partial = packed.with_suffix(""), packed.with_suffix(".partial")
        if unpacked.exists():
            raise DataError(f"{unpacked} holds only a part of {packed.name}: remove that folder, and run prepare again")
        shutil.rmtree(partial, ignore_errors=True)
        extract(packed, partial).rename(unpacked)


def _packed_images(folder: Path) -> list[Path]:
    return sorted(folder.glob("HAM10000_images*.zip"))


def _metadata_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("HAM10000_metadata*"))


def _from_folder(folder: Path, name: str) -> Archive:
    _unpack_what_is_missing(folder)
    metadata = _metadata_files(folder)[0].read_bytes()
    images = {path.stem: path for path in folder.rglob("*.jpg")}  # images/, or HAM10000_images_part_1/ and _2/
    records = _parse(metadata, set(images))
    return Archive(name, hashlib.sha256(metadata).hexdigest(), records, lambda image_id: images[image_id].read_bytes())


def _from_tar(path: Path) -> Archive:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with tarfile.open(path) as archive:
        contents = {Path(member.name).name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
    metadata = next((data for name, data in contents.items() if name.startswith("HAM10000_metadata")), None)
    if metadata is None:
        raise DataError(f"{path} holds no HAM10000_metadata.csv")
    images = {name.removesuffix(".jpg") for name in contents if name.endswith(".jpg")}
    return Archive(path.name, digest, _parse(metadata, images), lambda image_id: contents[f"{image_id}.jpg"])


def _parse(metadata: bytes, images: set[str]) -> list[Record]:
    """Rows of the metadata in the order of their image ids. A row without its image is an error: a figure on part of the data misleads."""
    text = metadata.decode("utf-8-sig")
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","  # Dataverse also hands it out as .tab
    rows = sorted(csv.DictReader(io.StringIO(text), delimiter=delimiter), key=lambda row: row["image_id"])
    missing = [row["image_id"] for row in rows if row["image_id"] not in images]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} images are missing, the first is {missing[0]}.jpg: "
            "put HAM10000_images_part_1.zip and HAM10000_images_part_2.zip, or the images in them, beside the metadata"
        )
    return [
        Record(
            image_id=row["image_id"],
            lesion_id=row["lesion_id"],
            diagnosis=row["dx"],
            age=float(row["age"]) if row["age"] else None,
            sex=row["sex"] or "unknown",
            site=row["localization"] or "unknown",
        )
        for row in rows
    ]
