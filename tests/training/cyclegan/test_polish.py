"""Polishing gives in one pass what takes two: the answer without the droplets that instance normalisation leads to."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.tiny_runs import MakeRun
from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.cyclegan import polish
from training.recipes.cyclegan.config import Config, NetConfig
from training.recipes.cyclegan.model import Generator
from training.recipes.cyclegan.polish import without_droplets
from training.recipes.cyclegan.state import POLISHED, load_generators, load_trained


@pytest.fixture
def run(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> Run[Config]:
    copied = make_run(tmp_path, "polish.steps=80", "polish.peak=1.5", "polish.learning_rate=3e-4")
    shutil.copytree(finished_run.directory, copied.directory, dirs_exist_ok=True)
    return copied


def pictures() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_a_copy_learns_what_takes_two_passes(run: Run[Config]) -> None:
    (trained, progress), peak = load_trained(run), run.config.polish.peak
    wanted = without_droplets(trained.generator_ab, pictures(), peak)
    polish.main(run)
    polished, after = load_generators(run)
    with torch.no_grad():
        before, now = ((each.generator_ab(pictures()) - wanted).abs().mean().item() for each in (trained, polished))
    assert now < 0.9 * before
    assert after["polished_steps"] == run.config.polish.steps
    assert after["duration_s"] > progress["duration_s"]
    assert after["trained_at"] > progress["trained_at"]


def test_without_a_peak_two_passes_are_one() -> None:
    generator = Generator(NetConfig(generator_channels=4, blocks=1)).eval()
    with torch.no_grad():
        torch.testing.assert_close(without_droplets(generator, pictures(), peak=1000.0), generator(pictures()), rtol=1e-3, atol=1e-4)


def test_a_peak_is_cut_off_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    generator = Generator(NetConfig(generator_channels=4, blocks=1)).eval()
    last = generator.up[3].register_forward_hook(add_peak)
    with torch.no_grad():
        plain, cut = generator(pictures()), without_droplets(generator, pictures(), peak=6.0)
    last.remove()
    changed = ((plain - cut).abs().amax((0, 1)) > 1e-3).nonzero()
    assert len(changed) > 0
    assert (changed - torch.tensor([10, 20])).abs().max() <= 4  # as far as the last two convolutions reach from the peak


def add_peak(_module: object, _inputs: object, output: Tensor) -> Tensor:
    """A hundred times the largest value, at row 10 and column 20."""
    output = output.clone()
    output[:, :, 10, 20] += 100 * output.abs().max()
    return output


def test_an_interrupted_polish_goes_on_to_the_same_copy(run: Run[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polish, "LOG_STEPS", 2)
    whole = replace(run, config=replace(run.config, polish=replace(run.config.polish, steps=4)), directory=tmp_path / "whole")
    shutil.copytree(run.directory, whole.directory)
    interrupted, compare = replace(whole, directory=tmp_path / "interrupted"), polish.compare
    shutil.copytree(run.directory, interrupted.directory)
    polish.main(whole)

    def fail_at_third(*arguments: object) -> torch.Tensor:
        if arguments[4] == 3:  # the step
            raise KeyboardInterrupt
        return compare(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(polish, "compare", fail_at_third)
        with pytest.raises(KeyboardInterrupt):
            polish.main(interrupted)
    assert load_generators(interrupted)[1]["polished_steps"] == 2
    polish.main(interrupted)
    expected = load_generators(whole)[0].state_dict()
    for name, tensor in load_generators(interrupted)[0].state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


def test_a_copy_of_other_generators_is_refused(run: Run[Config]) -> None:
    polish.main(replace(run, config=replace(run.config, polish=replace(run.config.polish, steps=1))))
    copy = torch.load(run.directory / POLISHED, weights_only=True)
    torch.save(copy | {"copy_of": 0.0}, run.directory / POLISHED)
    with pytest.raises(DataError, match="remove it, and polish again"):
        load_generators(run)
