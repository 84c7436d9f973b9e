"""Polishing takes peaks out of generators, and leaves what they answer elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.tiny_runs import MakeRun
from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.cyclegan import polish
from training.recipes.cyclegan.config import Config, NetConfig, PolishConfig
from training.recipes.cyclegan.model import Generator, Generators
from training.recipes.cyclegan.state import POLISHED, load_generators, load_trained

SETTINGS = ("polish.steps=50", "polish.peak=3", "polish.margin=1", "polish.learning_rate=1e-3", "polish.peak_weight=0.1")


@pytest.fixture
def run(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> Run[Config]:
    copied = make_run(tmp_path, *SETTINGS)
    shutil.copytree(finished_run.directory, copied.directory, dirs_exist_ok=True)
    return copied


def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1


def highest(generators: Generators) -> float:
    with torch.no_grad(), polish.watched(generators.generator_ab) as norms:
        generators.generator_ab(pictures())
    return sum(torch.relu(norm.abs().amax((2, 3)) - 3).mean().item() for norm in norms)


def test_peaks_go_and_the_answers_stay(run: Run[Config]) -> None:
    trained, progress = load_trained(run)
    polish.main(run)
    polished, after = load_generators(run)
    assert highest(polished) < 0.8 * highest(trained)
    with torch.no_grad():
        difference = (polished.generator_ab(pictures()) - trained.generator_ab(pictures())).abs().mean().item()
    assert 0 < difference < 0.2  # of 2
    assert after["polished_steps"] == 50
    assert after["duration_s"] > progress["duration_s"]
    assert after["trained_at"] > progress["trained_at"]


def test_a_generator_without_peaks_stays_as_it_is(run: Run[Config]) -> None:
    trained, _ = load_trained(run)
    config = replace(run.config, polish=PolishConfig(steps=2, peak=1000))
    polish.main(replace(run, config=config))
    polished, _ = load_generators(replace(run, config=config))
    with torch.no_grad():
        difference = (polished.generator_ab(pictures()) - trained.generator_ab(pictures())).abs().mean()
    assert difference < 0.02


def test_an_interrupted_polish_goes_on_to_the_same_copy(run: Run[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polish, "LOG_STEPS", 2)
    whole = replace(run, config=replace(run.config, polish=replace(run.config.polish, steps=4)), directory=tmp_path / "whole")
    shutil.copytree(run.directory, whole.directory)
    interrupted, take_step = replace(whole, directory=tmp_path / "interrupted"), polish.take_step
    shutil.copytree(run.directory, interrupted.directory)
    polish.main(whole)

    def fail_at_third(*arguments: object) -> torch.Tensor:
        if arguments[4] == 3:
            raise KeyboardInterrupt
        return take_step(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(polish, "take_step", fail_at_third)
        with pytest.raises(KeyboardInterrupt):
            polish.main(interrupted)
    assert load_generators(interrupted)[1]["polished_steps"] == 2
    polish.main(interrupted)
    expected = load_generators(whole)[0].state_dict()
    for name, tensor in load_generators(interrupted)[0].state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


def test_a_copy_of_other_generators_is_refused(run: Run[Config]) -> None:
    polish.main(replace(run, config=replace(run.config, polish=PolishConfig(steps=1))))
    copy = torch.load(run.directory / POLISHED, weights_only=True)
    torch.save(copy | {"copy_of": 0.0}, run.directory / POLISHED)
    with pytest.raises(DataError, match="remove it, and polish again"):
        load_generators(run)


def test_a_droplet_is_found_where_it_is() -> None:
    generator = Generator(NetConfig(generator_channels=4, blocks=1)).eval()
    with torch.no_grad():
        generator.up[4].conv.weight.zero_()
        generator.up[4].conv.weight[:, :, 1, 1] = 1.0
        hook = generator.up[3].register_forward_hook(lambda _, __, output: output * 0 + spike(output.shape))
        _, droplets = polish.answer(generator, torch.zeros(1, 3, 32, 32), PolishConfig(margin=2))
    hook.remove()
    expected = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    expected[:, :, 8:13, 18:23] = True
    assert torch.equal(droplets, expected)


def spike(shape: torch.Size) -> torch.Tensor:
    """Nothing but one place, row 10 and column 20."""
    made = torch.zeros(shape)
    made[:, :, 10, 20] = 1.0
    return made
