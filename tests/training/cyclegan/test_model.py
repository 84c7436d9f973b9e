"""Networks, losses and the pool of fakes, against values known by construction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.cyclegan.conftest import MakeRun
from training.kit.processes import launch_fabric
from training.recipes.cyclegan import train
from training.recipes.cyclegan.augmentation import DRAWS, augment, cut, draw_augmentation, shift
from training.recipes.cyclegan.config import Config, NetConfig
from training.recipes.cyclegan.losses import cycle_loss, fake_loss, identity_loss, real_loss
from training.recipes.cyclegan.model import Discriminator, Generator, Generators, to_pixels, to_unit
from training.recipes.cyclegan.pool import ImagePool
from training.recipes.cyclegan.step import start, weigh
from training.recipes.cyclegan.views import Views
from training.recipes.cyclegan.widen import widen

SMALL = NetConfig(generator_channels=4, blocks=1, discriminator_channels=4)


def test_a_generator_keeps_the_size_of_its_picture() -> None:
    generator = Generator(SMALL)
    for height, width in ((16, 16), (32, 48), (64, 20)):
        assert generator(torch.zeros(2, 3, height, width)).shape == (2, 3, height, width)


def test_a_generator_answers_within_the_range_of_pictures() -> None:
    answered = Generator(SMALL)(50 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert -1 <= answered.min() < answered.max() <= 1


def test_a_row_does_not_depend_on_its_batch_mates() -> None:
    generator = Generator(SMALL).eval()
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(generator(x)[1:2], generator(x[1:2]), rtol=1e-4, atol=1e-5)


def test_the_discriminator_of_the_paper_judges_patches_of_seventy_pixels() -> None:
    discriminator = Discriminator(SMALL)
    for layer in discriminator.modules():
        if isinstance(layer, torch.nn.InstanceNorm2d):  # it sees the whole picture: out of the way
            layer.forward = lambda x: x  # type: ignore[method-assign]
    x = torch.zeros(1, 3, 256, 256, requires_grad=True)
    scores = discriminator([x])
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    seen = x.grad.abs().sum((0, 1)).nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [70, 70]


def test_discriminators_of_features_judge_the_same_patches_in_every_layer() -> None:
    features = ("conv1_2", "conv2_2", "conv3_4")
    views = [torch.zeros(2, 4, 96 // stride, 64 // stride) for stride in (1, 2, 4)]
    assert Discriminator(replace(SMALL, features=features))(views).shape == (2, 3, 6, 4)


def test_views_are_of_unit_size_the_same_every_time_and_never_trained(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, 'net.features=["conv1_2", "conv3_1"]', "net.discriminator_channels=4")
    pictures = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1
    views = Views(run)
    seen = views(pictures)
    assert [view.shape for view in seen] == [(2, 4, 64, 48), (2, 4, 16, 12)]
    assert all(0.1 < view.square().mean().sqrt() < 10 for view in seen)
    assert all(torch.equal(one, other) for one, other in zip(seen, Views(run)(pictures), strict=True))
    assert not any(parameter.requires_grad for parameter in views.parameters())


def test_a_fake_gets_its_gradient_through_the_views(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, 'net.features=["conv2_2"]')
    views, discriminator = Views(run), Discriminator(run.config.net)
    fake = torch.zeros(1, 3, 32, 32, requires_grad=True)
    real_loss(discriminator(views(fake))).backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0


def test_both_directions_of_the_shipped_size_fit_in_twelve_megabytes_of_float16() -> None:
    assert sum(parameter.numel() for parameter in Generators(NetConfig()).parameters()) * 2 <= 12 * 2**20


@pytest.mark.parametrize("channels", [4, 6, 9])
def test_a_wider_generator_begins_as_the_narrow_one_and_its_copies_part(channels: int) -> None:
    narrow, wide = Generator(SMALL), Generator(replace(SMALL, generator_channels=channels))
    wide.load_state_dict(widen(narrow.state_dict(), wide.state_dict(), seed=0))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(wide(x), narrow(x), rtol=1e-4, atol=1e-5)
    if channels > 4:
        wide(x).square().mean().backward()
        gradients = wide.down[0].conv.weight.grad
        assert not torch.allclose(gradients[0], gradients[4], rtol=1e-2)  # a channel and its copy


def test_a_generator_does_not_widen_to_fewer_channels_or_other_layers() -> None:
    narrow = Generator(SMALL).state_dict()
    with pytest.raises(ValueError, match="does not widen"):
        widen(narrow, Generator(replace(SMALL, generator_channels=2)).state_dict(), seed=0)
    with pytest.raises(ValueError, match="other layers"):
        widen(narrow, Generator(replace(SMALL, blocks=2)).state_dict(), seed=0)


def test_pixels_come_back_as_they_were() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_pixels(to_unit(pixels)), pixels)
    assert to_unit(pixels).min() == -1
    assert to_unit(pixels).max() == 1


def test_losses_are_zero_where_they_should_be_and_grow_from_there() -> None:
    ones, zeros = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert (real_loss(ones), fake_loss(zeros), cycle_loss(ones, ones), identity_loss(ones, ones)) == (0, 0, 0, 0)
    assert (real_loss(3 * ones).item(), fake_loss(3 * ones).item()) == (4, 9)
    assert cycle_loss(zeros, -2 * ones).item() > cycle_loss(zeros, ones).item() > 0
    assert identity_loss(zeros, -2 * ones).item() > identity_loss(zeros, ones).item() > 0


def exchange(pool: ImagePool, fakes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    pool.fit(fakes.shape[-1], fakes.device)
    return pool.swap(fakes, *pool.draw(len(fakes), generator))


def test_the_pool_shows_new_fakes_until_it_is_full_and_then_half_old_ones() -> None:
    pool, generator = ImagePool(10), torch.Generator().manual_seed(0)
    fakes = torch.arange(1.0, 211.0).view(210, 1, 1, 1).expand(210, 3, 1, 1)
    batches = fakes.split(3)
    shown = torch.cat([exchange(pool, batch, generator) for batch in batches])
    assert torch.equal(shown[:12], fakes[:12])  # the last two of the fourth batch found the pool full, and are not kept
    fresh = (shown[12:] == fakes[12:]).float().mean().item()
    assert fresh == pytest.approx(0.5, abs=0.1)
    everything = [*shown[:, 0].flatten().tolist(), *pool.state()[:, 0].flatten().tolist()]
    assert len(pool.state()) == 10
    assert sorted(set(everything)) == fakes[:, 0].flatten().tolist()  # nothing is lost
    kept_at_first = 10  # which were shown as they came, and again when they left
    assert len(everything) - len(set(everything)) == kept_at_first


def test_a_pool_comes_back_as_it_was() -> None:
    pool, generator = ImagePool(4), torch.Generator().manual_seed(0)
    exchange(pool, torch.rand(3, 3, 8, 8), generator)
    other = ImagePool(4)
    other.restore(pool.state(), torch.device("cpu"))
    assert (other.filled, other.pictures.shape) == (3, pool.pictures.shape)
    assert torch.equal(other.state(), pool.state())


def test_a_pool_of_none_shows_what_is_new() -> None:
    fakes = torch.rand(2, 3, 4, 4)
    assert torch.equal(exchange(ImagePool(0), fakes, torch.Generator()), fakes)


def test_a_pool_begins_anew_when_crops_grow() -> None:
    pool, generator = ImagePool(3), torch.Generator().manual_seed(0)
    exchange(pool, torch.zeros(3, 3, 4, 4), generator)
    larger = torch.ones(1, 3, 8, 8)
    assert torch.equal(exchange(pool, larger, generator), larger)
    assert torch.equal(pool.state(), larger)


def test_an_alteration_of_nothing_is_none() -> None:
    pictures = torch.rand(2, 3, 16, 24) * 2 - 1
    middle = torch.full((2, DRAWS), 0.5)
    middle[:, 5:] = 3.0  # the cutout lies outside
    torch.testing.assert_close(augment(pictures, middle), pictures)


def test_alterations_are_moved_cut_and_recoloured_pictures_and_carry_gradients() -> None:
    pictures = torch.rand(1, 3, 16, 16) * 2 - 1
    moved = shift(pictures, torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))  # up by two, right by two
    assert torch.equal(moved[:, :, :-2, 2:], pictures[:, :, 2:, :-2])
    assert moved[:, :, -2:].abs().sum() == 0
    hole = cut(pictures, *torch.full((2, 1, 1, 1, 1), 0.5)) == 0
    assert hole.all(1).float().mean().item() == pytest.approx(1 / 4, abs=0.08)
    fakes = pictures.expand(64, -1, -1, -1).clone().requires_grad_()
    altered = augment(fakes, draw_augmentation(64, torch.Generator().manual_seed(0)))
    assert altered.std(0).min() > 0
    altered.square().sum().backward()
    assert fakes.grad is not None
    assert (fakes.grad.abs().sum((1, 2, 3)) > 0).all()


def test_the_rate_stays_and_then_falls_in_a_straight_line() -> None:
    config = Config(epochs=4, decay_epochs=2, epoch_steps=10, learning_rate=1.0, net=SMALL)
    state = start(config, launch_fabric())
    rates = []
    for step in (0, 20, 25, 30, 39):
        train.set_learning_rate(state, config, step)
        rates.append(state.generator_optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 0.75, 0.5, 0.05])


def test_an_identity_loss_that_is_computed_every_fourth_step_counts_four_times() -> None:
    losses = {"adversarial_ab": torch.tensor(1.0), "cycle_a": torch.tensor(1.0), "identity_a": torch.tensor(1.0)}
    config = Config(lambda_identity=0.5, identity_every=4)
    assert weigh(losses, config, torch.tensor(10.0)).item() == 1 + 10 + 10 * 0.5 * 4


@pytest.mark.parametrize(("last", "expected"), [(None, [10, 10, 10]), (2.0, [10, 6, 2])])
def test_the_cycle_s_weight_goes_in_a_straight_line_over_the_run(last: float | None, expected: list[float]) -> None:
    config = Config(epochs=3, lambda_cycle=10, lambda_cycle_last=last)
    assert [train.cycle_weight(config, epoch) for epoch in range(3)] == pytest.approx(expected)


def test_crops_grow_after_the_small_epochs() -> None:
    config = Config(small_epochs=2, small_crop_size=96, crop_size=128)
    assert [train.crop_size(config, epoch) for epoch in range(4)] == [96, 96, 128, 128]
