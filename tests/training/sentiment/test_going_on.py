"""With which settings a run goes on, is evaluated and exported, and which numbers are none."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("torch")

import torch

from app.contract.manifest import load_manifest
from tests.training.sentiment.conftest import MakeRun
from tests.training.tiny_runs import copy_of
from training.kit.config import ConfigError, config_dict
from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.sentiment import evaluate, export, finetune, mixing, pretrain, short_texts, train, wide
from training.recipes.sentiment.config import Config


@pytest.mark.parametrize(
    ("override", "file"),
    [
        ("wide.inverse_regularisation=99.0", wide.FILE),
        ("wide.max_order=2", wide.FILE),
        ("data.film_block=7", wide.FILE),
        ("net.hidden=20", pretrain.FILE),
        ("pretrain.epochs=9.0", pretrain.FILE),
        ("finetune.word_dropout=0.9", finetune.FILE),
        ("short_texts.learning_rate=0.5", short_texts.FILE),
    ],
)
def test_a_stage_goes_on_only_as_it_was_trained(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path, override: str, file: str
) -> None:
    run = copy_of(finished_run, make_run(tmp_path, override))
    setting, _, value = override.partition("=")
    with pytest.raises(ConfigError, match=rf"{file} was trained with {setting}=.*, not {value}: leave it as it was"):
        train.main(run)


@pytest.mark.parametrize("stage", [evaluate, export])
@pytest.mark.parametrize("override", ["wide.max_order=2", "pretrain.epochs=9", "short_texts.learning_rate=0.5"])
def test_what_is_evaluated_and_exported_is_what_was_trained(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path, stage: ModuleType, override: str
) -> None:
    run = copy_of(finished_run, make_run(tmp_path, override))
    with pytest.raises(ConfigError, match=rf"{short_texts.FILE} was trained with {override.partition('=')[0]}"):
        stage.main(run)


def test_stages_that_are_to_come_may_have_other_settings_and_the_fine_tuning_more_epochs(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "finetune.epochs=3", "short_texts.learning_rate=0.5"))
    train.fit_wide(run)
    assert pretrain.load(run, pretrain.FILE, "language model")
    assert pretrain.load(run, finetune.FILE, "classifier")


def test_a_checkpoint_that_does_not_tell_its_settings_is_taken(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "short_texts.learning_rate=0.5"))
    state = mixing.load_state(finished_run)
    del state["config"]
    torch.save(state, run.directory / short_texts.FILE)
    assert mixing.load_network(run)


def test_a_setting_that_the_checkpoint_does_not_know_yet_is_taken(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "short_texts.learning_rate=0.5"))
    state = mixing.load_state(finished_run)
    del state["config"]["short_texts"]["learning_rate"]
    torch.save(state, run.directory / short_texts.FILE)
    assert mixing.load_network(run)


def test_the_manifest_says_how_the_weights_were_trained_not_how_they_were_exported(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "finetune.epochs=9", "threads=2"))
    export.main(run)
    assert load_manifest(run.models / "sentiment" / "1").provenance.config == config_dict(finished_run.config)


@pytest.mark.parametrize("kept", [0, 100, -20])
def test_a_linear_part_that_is_cut_off_says_what_to_do(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path, kept: int) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    path = run.directory / wide.FILE
    path.write_bytes(path.read_bytes()[:kept])
    for use in (train.main, mixing.load_network):
        with pytest.raises(DataError, match=r"wide.npz is damaged .*: remove it, and `axon-train sentiment train`"):
            use(run)


@pytest.mark.parametrize("override", ["pretrain.batch_size=5000", "finetune.batch_size=5000"])
def test_a_stage_without_a_batch_is_refused(make_run: MakeRun, tmp_path: Path, override: str) -> None:
    epochs = [] if override.startswith("pretrain") else ["pretrain.epochs=0"]
    with pytest.raises(ConfigError, match=rf"{override} make no batch of "):
        train.main(make_run(tmp_path, override, *epochs))


@pytest.mark.parametrize(
    "override",
    [
        "pretrain.epochs=-1",
        "finetune.epochs=0",
        "finetune.batch_size=0",
        "short_texts.learning_rate=-1",
        "pretrain.dropout=1",
        "data.validation_share=1.2",
        "data.film_block=0",
        "finetune.longest_span=3",
        "wide.max_order=4",
    ],
)
def test_a_number_that_means_nothing_is_refused(make_run: MakeRun, tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        make_run(tmp_path, override)


@pytest.mark.parametrize("override", ["pretrain.batch_size=15", "finetune.batch_size=15"])
def test_a_batch_that_two_processes_cannot_share_evenly_is_refused(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    monkeypatch.setattr(train, "launch_fabric", lambda *_: SimpleNamespace(world_size=2))
    with pytest.raises(ConfigError, match=f"{override} cannot be shared evenly by 2 processes"):
        train.main(make_run(tmp_path, override))


def test_processes_drop_different_things_and_the_first_what_one_alone_does() -> None:
    def drawn(rank: int, number: int = 5) -> list[float]:
        pretrain.seed_step(seed=1, number=number, rank=rank)
        return torch.rand(4).tolist()

    assert drawn(rank=0) == torch.rand(4, generator=torch.Generator().manual_seed(1_000_008)).tolist()
    assert drawn(rank=0) != drawn(rank=1) != drawn(rank=2)
    assert drawn(rank=1) == drawn(rank=1) != drawn(rank=1, number=6)
