"""Peaks go out of a generator's answer, and everything else stays."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from training.kit.run import Run
from training.recipes.cyclegan import peaks
from training.recipes.cyclegan.config import Config, NetConfig
from training.recipes.cyclegan.droplets import ClampedConvNorm, TwoPasses, without_droplets
from training.recipes.cyclegan.model import Generator, Generators
from training.recipes.cyclegan.state import load_generators

PICTURES = torch.rand(3, 3, 32, 40, generator=torch.Generator().manual_seed(5)) * 2 - 1


def generators() -> Generators:
    """Random ones, whose answers reach from black to white."""
    torch.manual_seed(0)
    made = Generators(NetConfig(generator_channels=4, blocks=2)).eval().requires_grad_(False)
    for generator in made.children():
        generator.colours.weight.normal_(0.0, 0.1)
    return made


def test_without_a_peak_two_passes_and_the_copy_answer_the_same() -> None:
    trained = generators()
    expected = trained.generator_ab(PICTURES)
    torch.testing.assert_close(TwoPasses(trained.generator_ab, 1000.0)(PICTURES), expected, rtol=1e-3, atol=1e-4)
    copied = without_droplets(trained, (PICTURES, PICTURES), 1000.0)
    torch.testing.assert_close(copied.generator_ab(PICTURES), expected, rtol=1e-3, atol=1e-4)


def test_two_passes_cut_a_peak_off_and_change_nothing_else() -> None:
    generator = with_peak(generators().generator_ab)
    changed = ((generator(PICTURES) - TwoPasses(generator, 6.0)(PICTURES)).abs().amax((0, 1)) > 1e-3).nonzero()
    assert len(changed) > 0
    assert (changed - torch.tensor([10, 20])).abs().max() <= 7  # as far as three convolutions reach


def test_a_copy_in_one_pass_is_near_to_two() -> None:
    trained = generators()
    for generator in trained.children():
        with_peak(generator)
    wanted = TwoPasses(trained.generator_ab, 6.0)(PICTURES)
    copied = without_droplets(trained, (PICTURES, PICTURES), 6.0)
    plainly_clamped = copy.deepcopy(copied)
    for layer in plainly_clamped.modules():
        if isinstance(layer, ClampedConvNorm):
            layer.norm.weight.data.fill_(1.0)
            layer.norm.bias.data.zero_()
    near, far = ((each.generator_ab(PICTURES) - wanted).abs().mean().item() for each in (copied, plainly_clamped))
    assert near < 0.2 * far


def test_nothing_in_a_clamped_layer_is_over_the_peak() -> None:
    copied = without_droplets(generators(), (PICTURES, PICTURES), 0.5)
    layers = [layer for layer in copied.generator_ab.modules() if isinstance(layer, ClampedConvNorm)]
    assert len(layers) == 2 * 2 + 2  # two in each block, and those on the way up
    for layer in layers:
        layer.register_forward_hook(
            lambda layer, _, output: seen.append(((output - column(layer.bias)) / column(layer.weight)).abs().max())
        )
    seen: list[Tensor] = []
    copied.generator_ab(PICTURES)
    assert all(0.49 < highest <= 0.5001 for highest in seen)


def test_a_run_that_asks_for_it_is_evaluated_and_served_so(finished_run: Run[Config]) -> None:
    served, _ = load_generators(finished_run)
    assert any(isinstance(layer, ClampedConvNorm) and layer.peak == finished_run.config.peak > 0 for layer in served.modules())
    again, _ = load_generators(finished_run)
    assert all(torch.equal(one, other) for one, other in zip(served.parameters(), again.parameters(), strict=True))


def test_what_a_peak_comes_to_is_told_on_training_pictures(
    finished_run: Run[Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peaks, "PICTURES", 12)
    peaks.main(replace(finished_run, config=replace(finished_run.config, peaks=(0.0, 0.5))))
    told = re.findall(r"peak ([\d.]+), (\S+): ([\d.]+)", capsys.readouterr().out)
    assert [(peak, direction) for peak, direction, _ in told] == [
        (peak, direction) for peak in ("0", "0.5") for direction in ("plain-to-striped", "striped-to-plain")
    ]
    assert len({ratio for _, _, ratio in told}) == 4
    assert all(float(ratio) > 0 for _, _, ratio in told)


def column(values: Tensor) -> Tensor:
    return values[:, None, None]


def with_peak(generator: Generator) -> Generator:
    """A hundred times the largest value before the last normalised layer but one, at half the size: row 5, column 10."""

    def add(_module: object, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, :, 5, 10] += 100 * output.abs().max()
        return output

    generator.up[0].register_forward_hook(add)
    return generator
