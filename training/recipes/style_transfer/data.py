"""Photographs to paint (one per ImageNet class and BSDS500's, or any folder) and the paintings whose manner is learnt.

`prepare` decodes every photograph once, as the server does, and keeps the pixels beside the run.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from app.contract.images import PhotographProcessor, decode
from training.kit.data import DataError, find, naming, refuse_other_settings
from training.kit.run import Run
from training.kit.splits import hash_split
from training.recipes.style_transfer import synthetic
from training.recipes.style_transfer.config import Config

PHOTOGRAPHS = ("photos_256.tar", "photos", "photographs")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PROCESSOR = PhotographProcessor(max_side_px=1024)
SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}
SALT = "style-transfer-1"
NEUTRAL = "none"
TITLES = {
    "starry_night": "The Starry Night, Vincent van Gogh, 1889",
    "great_wave": "The Great Wave off Kanagawa, Katsushika Hokusai, about 1831",
    "the_scream": "The Scream, Edvard Munch, 1893",
    "shipwreck_of_the_minotaur": "The Shipwreck of the Minotaur, J. M. W. Turner, about 1810",
    "udnie": "Udnie, Francis Picabia, 1913",
    "woman_with_a_hat": "Woman with a Hat, Henri Matisse, 1905",
}


@dataclass(frozen=True)
class Photographs:
    """The prepared photographs; number i of everything is the same one."""

    names: list[str]
    pixels: list[Tensor]  # (3, H, W) each, uint8, memory-mapped
    splits: dict[str, NDArray[np.int64]]  # name -> numbers
    source: dict[str, str]  # name, sha256

    def to(self, device: torch.device) -> Photographs:
        """The same, all pixels there: training cuts its squares where it paints them."""
        return replace(self, pixels=[each.to(device) for each in self.pixels])


def prepare(run: Run[Config]) -> None:
    """Decode every photograph once: prepared/pixels.npy holds one behind the other, photographs.json says which is where.

    Raises DataError for a folder that holds photographs of other settings: a run may have learnt from these.
    """
    folder = run.directory / "prepared"
    if (folder / "photographs.json").is_file():
        read_description(run)
    name, files = find_photographs(run)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "photographs.json").unlink(missing_ok=True)
    digest, parts, shapes = hashlib.sha256(), [], []
    for file in tqdm(sorted(files), desc=name, unit="photograph"):
        with naming(f"the photograph {file} of {name}"):
            pixels = PROCESSOR.preprocess(files[file])
        digest.update(files[file])
        parts.append(pixels.ravel())
        shapes.append(pixels.shape[1:])
    np.save(folder / "pixels.npy", np.concatenate(parts))
    described = {
        "source": {"name": name, "sha256": digest.hexdigest()},
        "names": sorted(files),
        "shapes": shapes,
        "settings": settings(run.config),
    }
    (folder / "photographs.json").write_text(json.dumps(described))


def settings(config: Config) -> dict[str, object]:
    """What decides which photographs are kept. The seed is of drawn ones alone."""
    return {"synthetic": config.synthetic, "seed": config.seed if config.synthetic else None}


def read_description(run: Run[Config]) -> dict[str, Any]:
    """photographs.json. Raises DataError where it is of other settings; those of before 27 November 2026 do not tell theirs."""
    folder = run.directory / "prepared"
    described: dict[str, Any] = json.loads((folder / "photographs.json").read_text())
    refuse_other_settings(folder, described.get("settings", {}), settings(run.config))
    return described


def load(run: Run[Config]) -> Photographs:
    """What `prepare` left behind, split by name; it is called where it has not been yet. Raises DataError."""
    folder = run.directory / "prepared"
    if not (folder / "photographs.json").is_file():
        prepare(run)
    described = read_description(run)
    stored = np.load(folder / "pixels.npy", mmap_mode="c")  # tensors want to be writable; what is written stays in memory
    ends = np.cumsum([3 * height * width for height, width in described["shapes"]])
    parts = zip(np.split(stored, ends[:-1]), described["shapes"], strict=True)
    pixels = [torch.from_numpy(part.reshape(3, *shape)) for part, shape in parts]
    return Photographs(described["names"], pixels, hash_split(described["names"], SHARES, SALT), described["source"])


def find_photographs(run: Run[Config]) -> tuple[str, dict[str, bytes]]:
    """What the set is called, and name -> file: from a tar or a folder of the data root, or drawn. Raises DataError."""
    if run.config.synthetic:
        return "synthetic discs (drawn by the recipe)", synthetic.photographs(120, run.config.seed)
    path = find(data_root(run), PHOTOGRAPHS)
    if path is None:
        raise DataError(f"{run.data_root} holds none of {', '.join(PHOTOGRAPHS)}: put some hundred photographs into a folder of that name")
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES]
        return path.name, by_name({file.relative_to(path).as_posix(): file.read_bytes() for file in found})
    with tarfile.open(path) as archive:
        members = [member for member in archive if member.isfile() and member.name.lower().endswith(SUFFIXES)]
        return path.name, by_name({str(PurePosixPath(member.name)): archive.extractfile(member).read() for member in members})  # type: ignore[union-attr]


def by_name(files: dict[str, bytes]) -> dict[str, bytes]:
    """Path -> file, with no more of each path than its name, but where two would have the same one: these keep their paths."""
    count = Counter(PurePosixPath(path).stem for path in files)
    return {path if count[stem := PurePosixPath(path).stem] > 1 else stem: file for path, file in files.items()}


def data_root(run: Run[Config]) -> Path:
    if run.data_root is None:
        raise DataError("name the folder that holds photographs, paintings and VGG19 with --data-root or AXON_DATA")
    return run.data_root


def painting_file(run: Run[Config], name: str) -> bytes:
    """A painting of the config, or any file by its path. Raises DataError."""
    if run.config.synthetic and name in synthetic.PAINTINGS:
        return synthetic.painting(name)
    if Path(name).suffix.lower() in SUFFIXES:
        candidates = [Path(name)]
    else:
        candidates = [data_root(run) / "paintings" / f"{name}{suffix}" for suffix in SUFFIXES]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise DataError(f"the painting {candidates[0]} is missing")
    return path.read_bytes()


def load_painting(run: Run[Config], name: str) -> Tensor:
    """In [0, 1], its shorter side `painting_px` long: (1, 3, H, W)."""
    with naming(f"the painting {name}"):
        image = decode(painting_file(run, name))
    scale = run.config.painting_px / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return torch.from_numpy(to_pixels(image.resize(size, Image.Resampling.LANCZOS)))[None].float() / 255


def choice_name(painting: str) -> str:
    """As the server spells it: `starry_night` is `starry-night`."""
    return Path(painting).stem.lower().replace("_", "-").replace(" ", "-")


def title_of(painting: str) -> str:
    """Title, artist and year where the recipe knows them, else the file's name in words."""
    stem = Path(painting).stem
    return TITLES.get(stem, stem.replace("_", " ").replace("-", " ").capitalize())


def to_pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # (H, W, 3) -> (3, H, W)
