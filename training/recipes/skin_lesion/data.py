"""HAM10000 (Tschandl et al. 2018, doi:10.1038/sdata.2018.161): 7 diagnoses, dermatoscopic images, CC BY-NC 4.0.

`prepare` runs every image through the preprocessing that is served, once, and keeps the result beside the run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.contract.images import ImageProcessor
from training.kit.data import refuse_other_settings
from training.kit.run import Run
from training.kit.splits import hash_split
from training.recipes.skin_lesion import synthetic
from training.recipes.skin_lesion.archive import Record, find_archive
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
SALT = "skin-lesion-9"  # of 1 to 12 the one whose splits have the most even shares of each diagnosis; chosen before any training


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
    """Decode the data set once, for each size that the run needs. Raises DataError where it was prepared with other settings."""
    config = run.config
    described(run)
    if config.synthetic_lesions:
        synthetic.draw(run.directory / "synthetic-data", config.synthetic_lesions, config.seed)
    archive = find_archive(run)
    folder = run.directory / "prepared"
    folder.mkdir(parents=True, exist_ok=True)
    for size in image_sizes(config):
        path, shape = folder / f"pixels-{size}.npy", (len(archive.records), 3, size, size)
        partial = path.with_suffix(".partial")
        pixels = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        for i, record in enumerate(tqdm(archive.records, desc=f"{archive.name} at {size} px", unit="image")):
            pixels[i] = processor(size).preprocess(archive.read(record.image_id))
        pixels.flush()
        partial.replace(path)  # an interrupted `prepare` leaves no half of it
    source, records = {"name": archive.name, "sha256": archive.sha256}, [asdict(record) for record in archive.records]
    (folder / "records.json").write_text(json.dumps({"settings": settings(config), "source": source, "records": records}))


def settings(config: Config) -> dict[str, Any]:
    """What the records depend on, but for the data set itself."""
    return {"synthetic_lesions": config.synthetic_lesions} | ({"seed": config.seed} if config.synthetic_lesions else {})


def described(run: Run[Config]) -> dict[str, Any]:
    """What `prepare` wrote of the records, empty where there is nothing yet. Raises DataError where that was with other settings."""
    path = run.directory / "prepared" / "records.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    refuse_other_settings(run.directory, found.get("settings", {}), settings(run.config))
    return found


def load(run: Run[Config]) -> SkinLesions:
    """What `prepare` left behind, split by lesion."""
    folder = run.directory / "prepared"
    wanted = [folder / "records.json", *(folder / f"pixels-{size}.npy" for size in image_sizes(run.config))]
    if not all(path.is_file() for path in wanted):
        prepare(run)
    found = described(run)
    records = [Record(**record) for record in found["records"]]
    return SkinLesions(
        records=records,
        pixels={size: np.load(folder / f"pixels-{size}.npy", mmap_mode="r") for size in image_sizes(run.config)},
        labels=np.array([LABELS.index(record.diagnosis) for record in records]),
        splits=hash_split([record.lesion_id for record in records], shares(run.config), SALT),
        source=found["source"],
    )


def shares(config: Config) -> dict[str, float]:
    held_out = {"validation": config.validation_share, "test": config.test_share}
    return {"train": 1 - sum(held_out.values()), **held_out}


def processor(size: int) -> ImageProcessor:
    """An image file as the network sees it: squashed to a square, so that no border of the lesion is lost."""
    return ImageProcessor(height=size, width=size, resize="squash", resample="bicubic")
