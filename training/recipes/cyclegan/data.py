"""Two heaps of pictures without pairs: horse2zebra (Zhu et al. 2017, from ImageNet), or any two folders.

`prepare` decodes every picture as the server does, once, and keeps it small beside the run. A tenth of each domain is
held out by a hash of the picture's name; what training holds as well is left out of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, normalize
from tqdm import tqdm

from app.contract.images import ImageProcessor
from training.kit.data import DataError, naming, refuse_other_settings
from training.kit.run import Run
from training.kit.splits import hash_split
from training.nets.vgg19 import vgg19_file
from training.recipes.cyclegan.archive import Heap, find_heaps
from training.recipes.cyclegan.config import Config

SHARES = {"train": 0.9, "test": 0.1}
SALT = "cyclegan-1"
DOMAINS = ("a", "b")
THUMBNAIL = 16  # pixels, both sides
TWINS = 0.99  # correlation of two thumbnails
SETTINGS = ("domain_a", "domain_b", "synthetic_pictures", "skip_grey", "stored_size")  # of the config: what decides which pixels are kept


@dataclass(frozen=True)
class Domain:
    """One prepared domain; row i of everything is the same picture."""

    names: list[str]
    pixels: NDArray[np.uint8]  # (N, 3, S, S), memory-mapped
    splits: dict[str, NDArray[np.int64]]  # name -> rows
    source: dict[str, str]  # name, source, sha256, licence


@dataclass(frozen=True)
class Domains:
    a: Domain
    b: Domain


def prepare(run: Run[Config]) -> None:
    """Decode both domains once; that training's VGG19 is there is found first. Raises DataError."""
    if run.config.net.features and not run.config.synthetic_pictures:
        vgg19_file(run.config.vgg19, run.data_root)
    store(run)


def store(run: Run[Config]) -> None:
    """Raises DataError for a folder that holds pictures of other settings: a run may have learnt from these."""
    described_in = run.directory / "prepared" / "pictures.json"
    if described_in.is_file():
        refuse_other_settings(described_in.parent, json.loads(described_in.read_text())["settings"], settings(run.config))
    heaps = find_heaps(run)
    described_in.unlink(missing_ok=True)
    described = {domain: _store(run, domain, heap) for domain, heap in zip(DOMAINS, heaps, strict=True)}
    described["settings"] = settings(run.config)
    described_in.write_text(json.dumps(described))  # last: its presence says that the rest is whole


def settings(config: Config) -> dict[str, object]:
    """The seed is of drawn pictures alone; folders of before 27 November 2026 do not tell it."""
    return {name: getattr(config, name) for name in SETTINGS} | {"seed": config.seed if config.synthetic_pictures else None}


def _store(run: Run[Config], domain: str, heap: Heap) -> dict[str, object]:
    processor = stored_processor(run.config)
    names, kept = [], []
    for name in tqdm(heap.names, desc=f"{heap.source['name']}, domain {domain}", unit="picture", mininterval=5):
        with naming(f"{name} of domain {domain}, {heap.source['name']}"):
            pixels = processor.preprocess(heap.read(name))  # (3, S, S)
        if run.config.skip_grey and _is_grey(pixels):
            continue
        names.append(name)
        kept.append(pixels)
    if not kept:
        raise DataError(f"all pictures of domain {domain}, {heap.source['name']}, are grey: give some with colour, or skip_grey=false")
    folder = run.directory / "prepared"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{domain}.npy", np.stack(kept))
    print(f"domain {domain}: {len(kept)} pictures, {len(heap.names) - len(kept)} grey ones left out", flush=True)
    return {"source": heap.source, "names": names}


def load(run: Run[Config]) -> Domains:
    """What `prepare` left behind; it is called where it has not been yet. Raises DataError for pictures of other settings."""
    folder = run.directory / "prepared"
    if not (folder / "pictures.json").is_file():
        store(run)
    described = json.loads((folder / "pictures.json").read_text())
    refuse_other_settings(folder, described["settings"], settings(run.config))
    return Domains(*(_load_domain(run, domain, **described[domain]) for domain in DOMAINS))


def _load_domain(run: Run[Config], domain: str, source: dict[str, str], names: list[str]) -> Domain:
    pixels = np.load(run.directory / "prepared" / f"{domain}.npy", mmap_mode="r")
    rows = hash_split(names, SHARES, SALT)
    return Domain(names, pixels, rows | {"test": without_twins(pixels, rows["train"], rows["test"])}, source)


def without_twins(pixels: NDArray[np.uint8], train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.int64]:
    """The test rows whose picture is not in training all but unchanged, or mirrored: heaps from the web hold some twice."""
    seen, unseen = thumbnails(pixels[train]), thumbnails(pixels[test])
    mirrored = unseen.unflatten(1, (THUMBNAIL, THUMBNAIL)).flip(2).flatten(1)
    nearest = torch.maximum(unseen @ seen.T, mirrored @ seen.T).amax(1)  # correlation, (T,)
    return test[(nearest <= TWINS).numpy()]


def thumbnails(pixels: NDArray[np.uint8]) -> Tensor:
    """Grey, tiny, without their mean and of length one: (N, 3, S, S) -> (N, THUMBNAIL ** 2)."""
    grey = torch.from_numpy(pixels.mean(1, dtype=np.float32))
    small = adaptive_avg_pool2d(grey, THUMBNAIL).flatten(1)
    return normalize(small - small.mean(1, keepdim=True))


def stored_processor(config: Config) -> ImageProcessor:
    """The server's decoding, then the middle square at the size that is kept."""
    return ImageProcessor(height=config.stored_size, width=config.stored_size, resize="shortest-edge-crop", resample="lanczos")


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Red, green and blue are the same everywhere."""
    return bool((pixels == pixels[:1]).all())


def draw_batch(domain: Domain, size: int, count: int, generator: torch.Generator, shrink: int = 1) -> Tensor:
    """Training pictures (count, 3, size, size), uint8: drawn with replacement, a random crop, half of them mirrored.

    A crop is `shrink` times as large, and each of its pixels the mean of so many squared.
    """
    rows = domain.splits["train"]
    chosen = torch.randint(len(rows), (count,), generator=generator).tolist()
    crops = torch.stack([_crop(domain.pixels[rows[i]], size * shrink, generator) for i in chosen])
    return crops if shrink == 1 else avg_pool2d(crops.float(), shrink).round().byte()


def _crop(pixels: NDArray[np.uint8], size: int, generator: torch.Generator) -> Tensor:
    room = pixels.shape[1] - size + 1
    top, left = torch.randint(room, (2,), generator=generator).tolist()
    crop = torch.from_numpy(np.ascontiguousarray(pixels[:, top : top + size, left : left + size]))
    return crop.flip(2) if torch.rand((), generator=generator) < 0.5 else crop


def centres(domain: Domain, rows: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """The middle (size, size) of pictures, (N, 3, size, size): what is shown and evaluated."""
    start = (domain.pixels.shape[2] - size) // 2
    return domain.pixels[rows][:, :, start : start + size, start : start + size]
