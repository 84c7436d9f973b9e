"""TransformNet, its losses and its batches, against values known by construction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.style_transfer.conftest import MakeRun
from training.recipes.style_transfer.batches import cut, draw_conditions, draw_images
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.cost import FastNeuralStyle, count
from training.recipes.style_transfer.data import Photographs, load
from training.recipes.style_transfer.losses import build_loss
from training.recipes.style_transfer.model import TransformNet, style_rows, with_new_style
from training.recipes.style_transfer.served import ServedTransform, tensor_specs
from training.recipes.style_transfer.sheets import tile
from training.recipes.style_transfer.train import set_learning_rate


@pytest.fixture
def network() -> TransformNet:
    """Three rows that all differ."""
    torch.manual_seed(0)
    network = TransformNet(3, width=4, blocks=1)
    with torch.no_grad():
        for parameter in style_rows(network).values():
            parameter[:-1] += 0.3 * torch.randn_like(parameter[:-1])
        network.canvas.weight.mul_(10)
    return network.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16), (33, 41), (64, 50), (321, 257)])
def test_an_answer_has_the_size_of_its_picture(network: TransformNet, height: int, width: int) -> None:
    with torch.no_grad():
        assert network(torch.rand(1, 3, height, width), torch.eye(3)[:1]).shape == (1, 3, height, width)


def test_the_neutral_row_starts_as_the_photograph_itself(images: torch.Tensor) -> None:
    network = TransformNet(3, width=4, blocks=1)
    torch.testing.assert_close(network(images, torch.eye(3)[2].expand(2, -1)), images)


def test_rows_of_a_batch_know_nothing_of_each_other(network: TransformNet, images: torch.Tensor) -> None:
    condition = torch.tensor([[1.0, 0, 0], [0.2, 0.5, 0.3]])
    together = network(images, condition)
    alone = torch.cat([network(image[None], row[None]) for image, row in zip(images, condition, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_every_style_paints_differently_and_a_mixture_lies_between(network: TransformNet, images: torch.Tensor) -> None:
    first, second = (network(images, torch.eye(3)[row].expand(2, -1)) for row in (0, 1))
    mixed = network(images, torch.tensor([[0.5, 0.5, 0]]).expand(2, -1))
    between, apart = (mixed - first).square().mean(), (second - first).square().mean()
    assert apart > 1e-4
    assert between < apart


def test_a_plain_picture_gets_no_seams_and_no_checkerboard(network: TransformNet) -> None:
    painted = network(torch.full((1, 3, 40, 40), 0.5), torch.eye(3)[:1])
    assert painted.var((2, 3)).max() < 1e-6  # reflected borders and resized convolutions leave it plain


def test_a_new_style_leaves_the_others_as_they_were(network: TransformNet, images: torch.Tensor) -> None:
    grown = with_new_style(network).eval()
    for old, new in ((0, 0), (1, 1), (2, 3)):
        before, after = network(images, torch.eye(3)[old].expand(2, -1)), grown(images, torch.eye(4)[new].expand(2, -1))
        torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)


def test_the_server_gets_whole_pixels_and_gives_a_clamped_picture(network: TransformNet) -> None:
    pixels = torch.randint(0, 256, (1, 3, 20, 30), dtype=torch.uint8)
    painted = ServedTransform(network)(pixels, torch.eye(3)[:1])
    torch.testing.assert_close(painted, network(pixels / 255, torch.eye(3)[:1]).clamp(0, 1))
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_the_shipped_architecture_costs_at_most_a_quarter_of_the_zoos() -> None:
    ours = count(ServedTransform(TransformNet(7)).eval(), tensor_specs(7)[0])
    theirs = count(FastNeuralStyle().eval(), [tensor_specs(7)[0][0].model_copy(update={"datatype": "FP32"})])
    assert theirs["parameters"] == 1_679_235
    assert theirs["gflop_at_224_px"] == pytest.approx(15.4, abs=0.2)
    assert ours["gflop_at_224_px"] <= theirs["gflop_at_224_px"] / 4
    assert ours["parameters"] <= theirs["parameters"] / 3


def test_a_loss_of_a_mixture_is_the_mixture_of_the_losses(make_run: MakeRun, tmp_path: Path, images: torch.Tensor) -> None:
    run = make_run(tmp_path)
    loss = build_loss(run, run.config.paintings)
    content = loss.perceptual.content(images[:1])
    kept, style = loss(images[1:].expand(3, -1, -1, -1), content, torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.25, 0.5, 0.25]]))
    assert style[2].item() == pytest.approx((0.25 * style[0] + 0.5 * style[1]).item(), rel=1e-4)
    assert kept[2].item() == pytest.approx(0.75 * kept[0].item(), rel=1e-4)


def test_a_painting_itself_has_no_style_loss_in_its_own_style(make_run: MakeRun, tmp_path: Path) -> None:
    from training.recipes.style_transfer.data import load_painting

    run = make_run(tmp_path)
    loss, painting = build_loss(run, run.config.paintings), load_painting(run, "stripes")
    _, style = loss(painting.expand(2, -1, -1, -1), loss.perceptual.content(painting), torch.eye(3)[:2])
    assert style[0].item() == pytest.approx(0, abs=1e-5)
    assert style[1].item() > 0.1


def test_anchors_are_the_distance_to_the_photograph_and_out_of_range(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "loss.reconstruction_weight=2", "loss.range_weight=3")
    loss = build_loss(run, run.config.paintings)
    black = torch.zeros(3, 3, 4, 4)
    painted = torch.stack([black[0] + 0.5, black[0] + 0.5, black[0] + 1.5])
    found = loss.anchors(painted, black, torch.tensor([[1.0, 0, 0], [0, 0, 1], [1, 0, 0]]))
    assert found.tolist() == pytest.approx([0, 2 * 0.25, 3 * 0.25])


def test_paintings_come_in_turns_and_the_last_row_of_each_photograph_is_neutral() -> None:
    config = Config(photographs=2, styles=3, mixture_probability=0.0)
    conditions = draw_conditions(config, epoch=0, step=0)
    assert conditions.shape == (2, 4, 7)
    assert conditions[:, :-1].flatten(0, 1).sum(0).tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert conditions[:, -1].tolist() == [[0, 0, 0, 0, 0, 0, 1]] * 2


def test_mixtures_have_weights_that_add_up_to_one() -> None:
    config = Config(photographs=8, styles=6, mixture_probability=1.0)
    conditions = draw_conditions(config, epoch=0, step=0)
    torch.testing.assert_close(conditions.sum(2), torch.ones(8, 7))
    assert (conditions > 0).sum(2).max() == 2


def test_processes_take_their_parts_of_the_same_batch(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "photographs=4")
    photographs = load(run)
    whole = draw_images(photographs, run.config, 1, 5), draw_conditions(run.config, 1, 5)
    parts = [(draw_images(photographs, run.config, 1, 5, rank, 2), draw_conditions(run.config, 1, 5, rank, 2)) for rank in range(2)]
    for both, (first, second) in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(both, torch.cat([first, second]))


def test_a_cut_has_the_size_of_its_epoch() -> None:
    config = Config(crop_px=24, small_crop_px=16, small_epochs=2, crop_from_px=(20, 40))
    pixels = torch.zeros(3, 50, 30, dtype=torch.uint8)
    assert cut(pixels, config, 1, 0).shape == (1, 3, 16, 16)
    assert cut(pixels, config, 2, 0).shape == (1, 3, 24, 24)


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    config = Config(epochs=10, steps=100, warmup_steps=50, cooldown_share=0.4)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    rates = []
    for step in (0, 49, 600, 800, 999):
        set_learning_rate(optimizer, config, step)
        rates.append(optimizer.param_groups[0]["lr"] / config.learning_rate)
    assert rates == pytest.approx([0.02, 1, 1, 0.5, 0], abs=0.01)


def test_no_photograph_is_in_two_splits(make_run: MakeRun, tmp_path: Path) -> None:
    photographs: Photographs = load(make_run(tmp_path))
    members = [set(rows.tolist()) for rows in photographs.splits.values()]
    assert len(set.union(*members)) == sum(map(len, members)) == len(photographs.names)


def test_a_sheet_is_as_wide_as_its_cells_with_a_gap_behind_each() -> None:
    assert tile([[torch.zeros(3, 10, 20)] * 3] * 2).size == (3 * 24, 2 * 14)
