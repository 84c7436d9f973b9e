"""Reading, splitting and tokenising reviews that the tests make themselves."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("torch")

from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.sentiment.config import Config, DataConfig
from training.recipes.sentiment.data import Split, load_split, load_tokenizer, prepare, split_of, tokenize, truncate
from training.recipes.sentiment.evaluate import describe_data, unseen
from training.recipes.sentiment.phrases import phrases
from training.recipes.sentiment.probes import FRESH_PROBES, PROBES
from training.recipes.sentiment.reviews import NEGATIVE, POSITIVE, UNLABELLED, Review, read_reviews
from training.recipes.sentiment.tokenizer import train_tokenizer


@pytest.fixture
def archive_folder(tmp_path: Path) -> Path:
    """A folder in the official layout."""
    for name, text in {
        "train/pos/0_9.txt": "A fine film.",
        "train/neg/7_2.txt": "A poor film\u2026",
        "train/unsup/3_0.txt": "A film.",
        "test/pos/0_10.txt": "Another fine film.",
    }.items():
        path = tmp_path / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "aclImdb" / "train" / "urls_pos.txt").write_text("not a review")
    return tmp_path


def test_a_folder_and_an_archive_hold_the_same_reviews(archive_folder: Path) -> None:
    with tarfile.open(archive_folder / "aclImdb_v1.tar.gz", "w:gz") as tar:
        tar.add(archive_folder / "aclImdb", "aclImdb")
    folder, archive = (
        sorted(read_reviews(archive_folder / name), key=lambda review: (review.part, review.label))
        for name in ("aclImdb", "aclImdb_v1.tar.gz")
    )
    assert folder == archive
    assert [(review.part, review.label, review.number, review.stars) for review in folder] == [
        ("test", POSITIVE, 0, 10),
        ("train", UNLABELLED, 3, 0),
        ("train", NEGATIVE, 7, 2),
        ("train", POSITIVE, 0, 9),
    ]


def test_an_archive_that_is_cut_off_says_what_to_do(archive_folder: Path) -> None:
    path = archive_folder / "aclImdb_v1.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(archive_folder / "aclImdb", "aclImdb")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="run prepare again"):
        list(read_reviews(path))


def test_reviews_that_were_prepared_with_other_settings_are_refused(archive_folder: Path, tmp_path: Path) -> None:
    run = Run("sentiment", "full", Config(data=DataConfig(validation_share=0.0)), tmp_path / "run", data_root=archive_folder)
    prepare(run)
    assert len(load_split(run, "train")) == 2
    other = replace(run, config=Config(data=DataConfig(validation_share=0.0, max_tokens=300)))
    prepared = (tmp_path / "run" / "train.npz").read_bytes()
    for use in (load_tokenizer, partial(load_split, name="train"), prepare):  # what weights were trained on stays there
        with pytest.raises(DataError, match=r"was prepared with max_tokens=512, not 300"):
            use(other)
    assert (tmp_path / "run" / "train.npz").read_bytes() == prepared
    prepare(run)


def test_figures_say_of_how_much_of_the_official_test_they_are(tmp_path: Path) -> None:
    run = Run("sentiment", "full", Config(), tmp_path, data_root=None)
    assert describe_data(run, 12_421)["split"].startswith("official test, 12,421 of its 25,000 reviews; ")


def test_without_a_data_folder_prepare_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-root or AXON_DATA"):
        prepare(Run("sentiment", "full", Config(), tmp_path, data_root=None))


def test_neighbouring_reviews_fall_on_the_same_side_of_the_split() -> None:
    config = DataConfig(validation_share=0.3, film_block=10)
    sides = [split_of(Review("train", POSITIVE, number, 9, ""), config) for number in range(1000)]
    assert all(len(set(sides[start : start + 10])) == 1 for start in range(0, 1000, 10))
    assert 0.15 < sides.count("validation") / 1000 < 0.45
    assert split_of(Review("test", POSITIVE, 1, 9, ""), config) == "test"
    assert split_of(Review("train", UNLABELLED, 1, 0, ""), config) == "unlabelled"


def test_a_test_review_that_training_has_read_is_not_counted() -> None:
    tokenizer = train_tokenizer(["a good film", "a bad film"], 10)
    read, test = (
        tokenize(tokenizer, [Review("", POSITIVE, 0, 0, text) for text in texts], DataConfig())
        for texts in (["a good film"], ["a bad film", "a good film", "bad"])
    )
    left: Split = unseen(test, read)
    assert [left[index].tolist() for index in range(len(left))] == [test[0].tolist(), test[2].tolist()]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't!", ["don't", "!"]),
        ("don\u2019t", ["don't"]),
        ("The film's plot", ["the", "film", "'s", "plot"]),
        ("one<br /><br />two", ["one", "two"]),
        ("8/10, or 7.5/10?", ["8/10", ",", "or", "7.5/10", "?"]),
        ("na\u00efve CAF\u00c9", ["naive", "cafe"]),
        ("wait... :) \U0001f600", ["wait", "...", ":)", "\U0001f600"]),
        (" \t\n", []),
    ],
)
def test_words_marks_and_ratings_are_tokens(text: str, tokens: list[str]) -> None:
    assert train_tokenizer([text], 100).encode(text).tokens == tokens


def test_a_word_outside_of_the_vocabulary_is_unknown() -> None:
    tokenizer = train_tokenizer(["good good bad"], 3)
    assert tokenizer.encode("good unheard bad").tokens == ["good", "<unk>", "<unk>"]


def test_a_long_review_keeps_its_head_and_its_tail_and_an_empty_one_is_unknown() -> None:
    config = DataConfig(max_tokens=5, head_tokens=2)
    assert truncate(list(range(10, 20)), config) == [10, 11, 17, 18, 19]
    assert truncate([7, 8], config) == [7, 8]
    assert truncate([], config) == [1]


# What tests/models asks of the model that ships.
OF_THE_SHIPPED_MODEL = (
    "not bad at all",
    "I expected more.",
    "A wonderful film, moving from the first scene to the last.",
    "Terrible. I want my two hours back.",
    "I did not like it.",
)


def test_no_probe_is_taught() -> None:
    def bare(text: str) -> str:
        return " ".join("".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").split())

    taught = {bare(sentence) for sentences in phrases().values() for sentence in sentences}
    probes = {bare(probe) for probe in (*PROBES, *FRESH_PROBES)}
    assert {bare(sentence) for sentence in OF_THE_SHIPPED_MODEL} <= probes
    assert taught.isdisjoint(probes)
    assert not [text for text in taught for probe in probes if len(probe.split()) > 2 and f" {probe} " in f" {text} "]


def test_negation_turns_what_the_grammar_teaches() -> None:
    kinds = phrases()
    assert kinds["verdict"]["it was good"] > 0.5 > kinds["negation"]["it was not good"]
    assert kinds["negation"]["it wasn't bad at all"] > 0.5 > kinds["verdict"]["it was bad"]
    assert kinds["expectation"]["we hoped for better"] < 0.5 < kinds["expectation"]["i feared far worse"]
    assert kinds["opinion of others"]["no one would call it funny"] < 0.5 < kinds["opinion of others"]["no one would call it dull"]
    assert set(kinds["fact"].values()) == {0.5}
