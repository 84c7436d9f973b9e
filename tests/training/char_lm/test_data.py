"""The texts and their split, and the floor that counts on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from app.contract.manifest import load_manifest
from tests.training.char_lm.conftest import MakeRun
from training.kit.config import load_config
from training.kit.data import DataError, Source
from training.kit.run import Run
from training.recipes.char_lm import data, ngrams, synthetic
from training.recipes.char_lm.config import Config
from training.recipes.char_lm.data import CORPORA, Corpus, Text
from training.recipes.char_lm.evaluate import describe

MODELS = Path(__file__).parents[3] / "models"
PRESETS = Path(data.__file__).parent / "presets"


def run_of(preset: str, folder: Path, data_root: Path | None) -> Run[Config]:
    return Run("char-lm", preset, load_config(Config, PRESETS / f"{preset}.toml", []), folder / "run", data_root)


@pytest.mark.parametrize("place", ["text", "."])
def test_a_text_is_found_in_the_data_folder_and_its_line_ends_become_newlines(tmp_path: Path, place: str) -> None:
    content = b"ab\r\ncd\n" * 10
    file = tmp_path / place / "a.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    described = Text("A", Source("https://example.org/a", file.name, f"sha256:{digest}"), "public domain")
    text, source = data.read(described, tmp_path)
    assert text == "ab\ncd\n" * 10
    assert (source.name, source.source, source.sha256) == ("A", "https://example.org/a", digest)


@pytest.mark.parametrize("content", [b"16 characters...", bytes(range(128, 256))])
def test_another_file_of_the_name_is_not_taken_for_the_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "anna.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"anna.txt is not the text behind https://.*: move it away, and prepare downloads that one"):
        data.prepare(run_of("anna", tmp_path, tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("read", [data.load, data.prepare])
def test_the_text_of_another_corpus_is_neither_taken_for_this_one_nor_replaced(tmp_path: Path, read: Callable[..., object]) -> None:
    data.prepare(run_of("tiny", tmp_path, None))
    prepared = (tmp_path / "run" / "text.txt").read_text()
    with pytest.raises(DataError, match="was prepared with corpus=synthetic, not shakespeare"):
        read(run_of("shakespeare", tmp_path, tmp_path))
    assert (tmp_path / "run" / "text.txt").read_text() == prepared


def test_the_first_nine_tenths_train_and_the_last_tenth_is_measured() -> None:
    corpus = Corpus("a" * 90 + "b" * 10, "ab", None)
    assert (corpus.part("train"), corpus.part("validation")) == ("a" * 90, "b" * 10)
    assert corpus.ids("train").tolist() == [0] * 90
    assert corpus.ids("validation").tolist() == [1] * 10


def test_what_stands_behind_the_work_is_counted_apart() -> None:
    corpus = Corpus("a" * 90 + "bbbb" + "THE END", "abTHEND ", None, appendix="THE")
    assert corpus.part("validation").startswith("b" * 3)
    assert corpus.part("validation")[: corpus.work_length()] == "b" * corpus.work_length() != ""
    assert replace(corpus, appendix=None).work_length() == len(corpus.part("validation"))


def test_the_figure_of_the_work_ends_with_its_last_character(tmp_path: Path) -> None:
    """The first character is scored by nobody."""
    corpus = Corpus("a" * 90 + "bbbb" + "THE END", "abTHEND ", None, appendix="THE")
    part = corpus.part("validation")
    nats = np.array([1.0 if character == "b" else 100.0 for character in part[1:]])
    metrics = describe(run_of("tiny", tmp_path, None), corpus, "PyTorch", {"carried": nats, "windowed": nats})
    (own,) = [metric for metric in metrics if "left out" in metric["split"]]
    assert (own["value"], own["n"]) == (1.0, part.index("T") - 1)


def test_without_a_data_folder_a_real_text_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give --data-root"):
        data.load(run_of("anna", tmp_path, None))


def test_every_official_source_has_a_checksum_and_is_what_the_shipped_model_read() -> None:
    assert set(CORPORA) == {"anna", "shakespeare"}
    for text in CORPORA.values():
        assert text.source.url.startswith("https://")
        assert len(text.source.checksum) == len("sha256:") + 64
    for name, text in CORPORA.items():
        shipped = load_manifest(MODELS / name / "1").provenance.data[0]
        assert (shipped.name, shipped.source, f"sha256:{shipped.sha256}") == (text.name, text.source.url, text.source.checksum)


def test_the_synthetic_text_is_the_same_for_a_seed_and_says_what_it_is(make_run: MakeRun, tmp_path: Path) -> None:
    assert synthetic.write(500, 1) == synthetic.write(500, 1) != synthetic.write(500, 2)
    assert len(synthetic.write(501, 1)) == 501
    assert data.load(make_run(tmp_path)).source is None


def test_a_unigram_knows_shares_alone() -> None:
    nats = ngrams.unigram_nats(np.array([0] * 7 + [1] * 1), np.array([0, 1]), 2)
    np.testing.assert_allclose(np.exp(-nats), [8 / 10, 2 / 10])


def test_an_ngram_mixes_what_followed_with_what_is_frequent() -> None:
    train = np.array([0, 1, 0, 1, 0, 2])
    unigram = np.array([4, 3, 2]) / 9  # one more than it occurs
    after_0 = (2 + 2 * unigram[1]) / (3 + 2)  # after 0 came 1, 1 and 2: 1 twice of three times, two kinds
    after_1 = (2 + 1 * unigram[0]) / (2 + 1)  # after 1 came 0 and 0: one kind
    found = np.exp(-ngrams.ngram_nats(train, np.array([0, 1, 0]), 3, order=2))
    np.testing.assert_allclose(found, [unigram[0], after_0, after_1])


def test_an_ngrams_probabilities_add_up_to_one() -> None:
    train = np.random.default_rng(0).integers(4, size=300)
    context = train[:5]
    total = sum(np.exp(-ngrams.ngram_nats(train, np.append(context, character), 4, order=4)[-1]) for character in range(4))
    assert total == pytest.approx(1)
