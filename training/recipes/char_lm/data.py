"""The texts: one file each, the first 90 % to train on and the last 10 % to measure on, as everyone who quotes figures on them does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.contract.files import sha256
from app.contract.manifest import DataSource
from app.contract.text import CharacterProcessor, CharTokenizer
from training.kit.data import DataError, Source, download, find, refuse_other_settings
from training.kit.run import Run
from training.recipes.char_lm import synthetic
from training.recipes.char_lm.config import Config

TRAIN_SHARE = 0.9
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Text:
    """A text at its official place."""

    name: str
    source: Source
    licence: str
    appendix: str | None = None  # the first words of what stands behind the work itself


CORPORA = {
    "anna": Text(
        name="Anna Karenina (Leo Tolstoy, translated by Constance Garnett)",
        source=Source(
            url="https://raw.githubusercontent.com/udacity/deep-learning-v2-pytorch/master/recurrent-neural-networks/char-rnn/data/anna.txt",
            file="anna.txt",
            checksum="sha256:568bb39fc78aca98e9db91c4329dcd1aa5ec4c3df3aca2064ce5d6f023ae16c9",
        ),
        licence="public domain",
        appendix="*** END OF THIS PROJECT GUTENBERG",
    ),
    "shakespeare": Text(
        name="Tiny Shakespeare (Karpathy 2015)",
        source=Source(
            url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            file="tinyshakespeare.txt",
            checksum="sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
        licence="public domain",
    ),
}


@dataclass(frozen=True)
class Corpus:
    """A prepared text and what it was made of."""

    text: str
    characters: str  # the alphabet, sorted; a character's id is its index
    source: DataSource | None  # None: synthetic
    appendix: str | None = None  # as in Text

    @property
    def tokenizer(self) -> CharTokenizer:
        return CharacterProcessor(characters=self.characters).load()

    def part(self, split: str) -> str:
        border = int(len(self.text) * TRAIN_SHARE)
        return self.text[:border] if split == "train" else self.text[border:]

    def work_length(self) -> int:
        """Characters of the validation part that belong to the work itself."""
        part = self.part("validation")
        place = part.find(self.appendix) if self.appendix else -1
        return len(part) if place < 0 else place

    def ids(self, split: str) -> NDArray[np.int64]:
        return self.tokenizer.encode(self.part(split))


def prepare(run: Run[Config]) -> None:
    """Write `text.txt`, line ends made newlines, and `corpus.json`: its alphabet and its source. Raises DataError beside another corpus."""
    refuse_other_corpus(run)  # the run's weights may have read it
    if run.config.corpus == "synthetic":
        text, source = synthetic.write(run.config.synthetic_characters, run.config.seed), None
    else:
        text, source = read(CORPORA[run.config.corpus], run.data_root)
    run.directory.mkdir(parents=True, exist_ok=True)
    (run.directory / "text.txt").write_text(text, encoding="utf-8", newline="\n")
    described = {"characters": "".join(sorted(set(text))), "source": source and source.model_dump(), "settings": settings(run.config)}
    (run.directory / "corpus.json").write_text(json.dumps(described, indent=1) + "\n")  # last: its presence says that the rest is whole
    print(f"{run.config.corpus}: {len(text):,} characters, {len(set(text))} different ones", flush=True)


def settings(config: Config) -> dict[str, object]:
    """Of the config: what decides which text is kept."""
    drawn = {"synthetic_characters": config.synthetic_characters, "seed": config.seed} if config.corpus == "synthetic" else {}
    return {"corpus": config.corpus, **drawn}


def read(described: Text, data_root: Path | None) -> tuple[str, DataSource]:
    """The text from DATA/text or DATA, or from its official place into DATA/text. Raises DataError for another one."""
    if data_root is None:
        raise DataError("where is the text, or where may it be downloaded to? give --data-root or AXON_DATA")
    source = described.source
    path = find(data_root, [f"text/{source.file}", source.file]) or download(source, data_root / "text")
    digest = sha256(path)
    if f"sha256:{digest}" != source.checksum:  # its figures would be held against those of the text that everyone quotes
        raise DataError(f"{path} is not the text behind {source.url}, nor is another edition: move it away, and prepare downloads that one")
    text = path.read_text(encoding="utf-8")  # universal newlines: \r\n becomes \n
    return text, DataSource(name=described.name, source=source.url, sha256=digest, licence=described.licence)


def refuse_other_corpus(run: Run[Config]) -> None:
    """Raises DataError where the run's folder was prepared with other settings."""
    path = run.directory / "corpus.json"
    if path.is_file():
        refuse_other_settings(run.directory, json.loads(path.read_text()).get("settings", {}), settings(run.config))


def load(run: Run[Config]) -> Corpus:
    """What `prepare` left behind; it is called where it has not been yet. Raises DataError for another corpus."""
    if not (run.directory / "corpus.json").is_file():
        prepare(run)
    refuse_other_corpus(run)
    described = json.loads((run.directory / "corpus.json").read_text())
    source = DataSource(**described["source"]) if described["source"] else None
    appendix = CORPORA[run.config.corpus].appendix if source else None
    return Corpus((run.directory / "text.txt").read_text(encoding="utf-8"), described["characters"], source, appendix)
