"""HAM10000 (Tschandl et al. 2018, doi:10.1038/sdata.2018.161): 7 diagnoses, dermatoscopic images, CC BY-NC 4.0.

`prepare` reads the data set in any of its usual layouts (a tar file, one folder of images, or the two part folders),
runs every image through the preprocessing that is served, and keeps the result beside the run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.contract.images import ImageProcessor
from training.kit.data import DataError
from training.kit.run import Run
from training.kit.splits import hash_split
from training.recipes.skin_lesion import synthetic
from training.recipes.skin_lesion.config import Config

TITLES = {
    "akiec": "actinic keratosis / intraepithelial carcinoma",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
LABELS = tuple(TITLES)
SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
SALT = "skin-lesion-9"  # of 1 to 12 the one whose splits have the most even shares of each diagnosis; chosen before any training


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
class Source:
    """A data set found on disk: its records, a way to an image's bytes, and what identifies it."""

    name: str
    sha256: str  # of the archive, or of the metadata where the data set is a folder
    records: list[Record]
    read: Callable[[str], bytes]


@dataclass(frozen=True)
class SkinLesions:
    """The prepared data set; row i of everything is the same image."""

    records: list[Record]
    pixels: dict[int, NDArray[np.uint8]]  # side -> (N, 3, side, side), memory-mapped
    labels: NDArray[np.int64]  # (N,), index into LABELS
    splits: dict[str, NDArray[np.int64]]  # name -> rows
    source: dict[str, str]  # name, sha256


def image_sizes(config: Config) -> list[int]:
    return sorted({config.image_size, config.warmup_image_size} if config.small_epochs else {config.image_size})


def prepare(run: Run[Config]) -> None:
    """Decode the data set once, for each size that the run needs."""
    config = run.config
    if run.data_root is None and config.synthetic_lesions:
        synthetic.draw(run.directory / "synthetic-data", config.synthetic_lesions, config.seed)
    source = find_source(run)
    folder = run.directory / "prepared"
    folder.mkdir(parents=True, exist_ok=True)
    for size in image_sizes(config):
        shape = (len(source.records), 3, size, size)
        pixels = np.lib.format.open_memmap(folder / f"pixels-{size}.npy", "w+", np.uint8, shape)
        for i, record in enumerate(tqdm(source.records, desc=f"{source.name} at {size} px", unit="image")):
            pixels[i] = processor(size).preprocess(source.read(record.image_id))
        pixels.flush()
    described = {"source": {"name": source.name, "sha256": source.sha256}, "records": [asdict(record) for record in source.records]}
    (folder / "records.json").write_text(json.dumps(described))


def load(run: Run[Config]) -> SkinLesions:
    """What `prepare` left behind, split by lesion."""
    folder = run.directory / "prepared"
    if not (folder / "records.json").is_file():
        prepare(run)
    described = json.loads((folder / "records.json").read_text())
    records = [Record(**record) for record in described["records"]]
    return SkinLesions(
        records=records,
        pixels={size: np.load(folder / f"pixels-{size}.npy", mmap_mode="r") for size in image_sizes(run.config)},
        labels=np.array([LABELS.index(record.diagnosis) for record in records]),
        splits=hash_split([record.lesion_id for record in records], SHARES, SALT),
        source=described["source"],
    )


def processor(size: int) -> ImageProcessor:
    """An image file as the network sees it: squashed to a square, so that no border of the lesion is lost."""
    return ImageProcessor(height=size, width=size, resize="squash", resample="bicubic")


def find_source(run: Run[Config]) -> Source:
    """HAM10000 under the data root, or the synthetic lesions of a preset that needs no data set."""
    if run.data_root is None:
        if not run.config.synthetic_lesions:
            raise DataError("name the folder that holds HAM10000 with --data-root or AXON_DATA")
        return _from_folder(run.directory / "synthetic-data", "synthetic lesions (drawn by the recipe)")
    archives = sorted(run.data_root.glob("[hH][aA][mM]10000*.tar"))
    if archives:
        return _from_tar(archives[0])
    for folder in (run.data_root, run.data_root / "HAM10000", run.data_root / "ham10000"):
        if _metadata_files(folder):
            return _from_folder(folder, "HAM10000")
    raise DataError(f"{run.data_root} holds neither HAM10000*.tar nor HAM10000_metadata.csv with its image folders")


def _metadata_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("HAM10000_metadata*"))


def _from_folder(folder: Path, name: str) -> Source:
    metadata = _metadata_files(folder)[0].read_bytes()
    images = {path.stem: path for path in folder.rglob("*.jpg")}  # images/, or HAM10000_images_part_1/ and _2/
    records = _parse(metadata, set(images))
    return Source(name, hashlib.sha256(metadata).hexdigest(), records, lambda image_id: images[image_id].read_bytes())


def _from_tar(path: Path) -> Source:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with tarfile.open(path) as archive:
        contents = {Path(member.name).name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
    metadata = next((data for name, data in contents.items() if name.startswith("HAM10000_metadata")), None)
    if metadata is None:
        raise DataError(f"{path} holds no HAM10000_metadata.csv")
    images = {name.removesuffix(".jpg") for name in contents if name.endswith(".jpg")}
    return Source(path.name, digest, _parse(metadata, images), lambda image_id: contents[f"{image_id}.jpg"])


def _parse(metadata: bytes, images: set[str]) -> list[Record]:
    """Rows of the metadata in the order of their image ids. A row without its image is an error: a figure on part of the data misleads."""
    rows = sorted(csv.DictReader(io.StringIO(metadata.decode("utf-8-sig"))), key=lambda row: row["image_id"])
    missing = [row["image_id"] for row in rows if row["image_id"] not in images]
    if missing:
        raise DataError(f"{len(missing)} of {len(rows)} images are missing, the first is {missing[0]}.jpg")
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
