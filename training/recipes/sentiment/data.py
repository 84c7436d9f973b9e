"""From reviews to token ids: the vocabulary, the split, and what `train` and `evaluate` read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from app.contract.files import sha256
from training.kit.data import DataError, Source, download, find, refuse_other_settings
from training.kit.run import Run
from training.recipes.sentiment.config import Config, DataConfig
from training.recipes.sentiment.reviews import UNLABELLED, Review, read_reviews
from training.recipes.sentiment.synthetic import synthetic_reviews
from training.recipes.sentiment.tokenizer import UNKNOWN_ID, save_tokenizer, train_tokenizer

OFFICIAL = Source(
    url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    file="aclImdb_v1.tar.gz",
    checksum="md5:7c2ac02c03563afcf9b574c7e56c153a",
)
OFFICIAL_TEST = 25_000  # reviews of the whole test part
NAMES = ("aclImdb", OFFICIAL.file, "aclImdb.tar.xz")
LICENCE = "no licence stated; free for research, to be cited as Maas et al. 2011"
AT_ONCE = 1_000  # reviews to tokenise between two signs of life
SPLITS = ("train", "validation", "unlabelled", "test")


@dataclass(frozen=True)
class Split:
    """Reviews as one flat array of ids; review i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: np.ndarray  # (sum of lengths,) uint16
    offsets: np.ndarray  # (n + 1,) int64
    labels: np.ndarray  # (n,) int64: 0 negative, 1 positive, -1 unlabelled

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]].astype(np.int64)

    def take(self, indices: Sequence[int]) -> Split:
        """Some of the reviews, in the order given."""
        sequences = [self[index] for index in indices]
        return Split(np.concatenate(sequences).astype(self.ids.dtype), np.cumsum([0, *map(len, sequences)]), self.labels[list(indices)])

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


def prepare(run: Run[Config]) -> None:
    """Read the reviews, build the vocabulary, write `tokenizer.json` and one `.npz` a split. Raises DataError beside other settings."""
    refuse_other_reviews(run)  # the run's weights may have read them
    reviews: Iterable[Review]
    if run.config.data.synthetic_reviews:
        reviews, sources = synthetic_reviews(run.config.data.synthetic_reviews, run.config.seed), []
    else:
        sources = _sources(run)
        reviews = (review for source in sources for review in read_reviews(source))
    splits: dict[str, list[Review]] = {name: [] for name in SPLITS}
    for review in tqdm(reviews, "reading", unit="review", mininterval=5):
        splits[split_of(review, run.config.data)].append(review)
    if not splits["train"]:
        raise DataError(f"no labelled training review under {run.data_root}: aclImdb/train/pos and neg are expected")
    run.directory.mkdir(parents=True, exist_ok=True)
    (run.directory / "sources.json").write_text(json.dumps([describe(source) for source in sources], indent=1) + "\n")
    read = tqdm([*splits["train"], *splits["unlabelled"]], "vocabulary", unit="review", mininterval=5)
    tokenizer = train_tokenizer((review.text for review in read), run.config.data.vocabulary_size)
    for name in SPLITS:
        split = tokenize(tokenizer, splits[name], run.config.data, name)
        np.savez(run.directory / f"{name}.npz", ids=split.ids, offsets=split.offsets, labels=split.labels)
        print(f"{name}: {len(split):,} reviews, {len(split.ids):,} tokens", flush=True)
    (run.directory / "prepared.json").write_text(json.dumps(settings(run.config), indent=1) + "\n")
    save_tokenizer(tokenizer, run.directory / "tokenizer.json")  # last: its presence says that the rest is whole


def describe(source: Path) -> dict[str, str]:
    """An archive, or a folder by the names and sizes of its files, for the manifest."""
    if source.is_dir():
        listing = "\n".join(f"{path.relative_to(source)} {path.stat().st_size}" for path in sorted(source.rglob("*.txt")))
        digest = hashlib.sha256(listing.encode()).hexdigest()
    else:
        digest = sha256(source)
    # manifests list them one behind the other
    name = "its unlabelled reviews" if "unsup" in source.name else "Large Movie Review Dataset"
    return {"name": name, "source": OFFICIAL.url, "sha256": digest, "licence": LICENCE}


def settings(config: Config) -> dict[str, object]:
    """Of the config: what decides which reviews are kept, and how."""
    return asdict(config.data) | ({"seed": config.seed} if config.data.synthetic_reviews else {})


def load_split(run: Run[Config], name: str) -> Split:
    with np.load(_prepared_file(run, f"{name}.npz")) as file:
        return Split(file["ids"], file["offsets"], file["labels"])


def load_tokenizer(run: Run[Config]) -> Tokenizer:
    """The tokenizer that `prepare` wrote; its vocabulary is smaller than configured where the reviews hold fewer words."""
    return Tokenizer.from_file(str(_prepared_file(run, "tokenizer.json")))


def _prepared_file(run: Run[Config], name: str) -> Path:
    """Raises DataError where it is missing, or was prepared with other settings."""
    path = run.directory / name
    if not path.is_file():
        raise DataError(f"{path} is missing: run `axon-train sentiment prepare` with this preset first")
    refuse_other_reviews(run)
    return path


def refuse_other_reviews(run: Run[Config]) -> None:
    """Raises DataError where the run's folder was prepared with other settings."""
    described = run.directory / "prepared.json"
    if described.is_file():  # there since 26 November 2026
        refuse_other_settings(run.directory, json.loads(described.read_text()), settings(run.config))


def split_of(review: Review, config: DataConfig) -> str:
    """Blocks of consecutive numbers go to validation by hash, since a film's reviews stand side by side (no film ids are published)."""
    if review.part == "test":
        return "test"
    if review.label == UNLABELLED:
        return "unlabelled"
    block = f"{review.label}/{review.number // config.film_block}".encode()
    draw = int.from_bytes(hashlib.sha256(block).digest()[:4], "big") / 2**32
    return "validation" if draw < config.validation_share else "train"


def tokenize(tokenizer: Tokenizer, reviews: Sequence[Review], config: DataConfig, title: str | None = None) -> Split:
    sequences = []
    for start in tqdm(range(0, len(reviews), AT_ONCE), title, unit="thousand", disable=title is None, mininterval=5):
        texts = [review.text for review in reviews[start : start + AT_ONCE]]
        sequences += [truncate(encoding.ids, config) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    ids = np.concatenate([np.asarray(ids, dtype=np.uint16) for ids in sequences]) if sequences else np.empty(0, dtype=np.uint16)
    return Split(ids, offsets, np.asarray([review.label for review in reviews], dtype=np.int64))


def truncate(ids: list[int], config: DataConfig) -> list[int]:
    """Head and tail: a review's verdict stands at its end, its subject at its start. Never empty."""
    if len(ids) > config.max_tokens:
        ids = ids[: config.head_tokens] + ids[config.head_tokens - config.max_tokens :]
    return ids or [UNKNOWN_ID]


def _sources(run: Run[Config]) -> list[Path]:
    """Where the reviews are; the official archive is downloaded into the data folder if nothing is there."""
    if run.data_root is None:
        raise DataError("where are the reviews, or where may they be downloaded to? give --data-root or AXON_DATA")
    reviews = find(run.data_root, NAMES) or download(OFFICIAL, run.data_root)
    unlabelled = find(run.data_root, ["aclImdb_unsup.tar.xz"])  # where they are kept apart
    return [reviews, unlabelled] if unlabelled else [reviews]
