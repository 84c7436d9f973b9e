"""The network, its quick gradients, the augmentation and the questions, against values known by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional as F

from training.kit.roc import GroupBootstrap
from training.kit.sanity import InsaneFigure
from training.recipes.skin_lesion import depthwise
from training.recipes.skin_lesion.archive import Record
from training.recipes.skin_lesion.augmentation import augment, dihedral, mix, turn_each
from training.recipes.skin_lesion.config import Augmentation, Config
from training.recipes.skin_lesion.data import LABELS
from training.recipes.skin_lesion.ensemble import Ensemble
from training.recipes.skin_lesion.epochs import average, halved
from training.recipes.skin_lesion.figures import age_group, check_sane, decision_curve
from training.recipes.skin_lesion.model import VARIANTS, SkinLesionNet, load_imagenet
from training.recipes.skin_lesion.targets import QUESTIONS, Scored, Unseen, build_target, six_digits
from training.recipes.skin_lesion.teachers import teach
from training.recipes.skin_lesion.train import optimizer_for, set_learning_rate

STILL = Augmentation(affine_probability=0, brightness=0, contrast=0, saturation=0, tint=0, mixup_probability=0)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def with_imagenet_weights(frozen_blocks: int) -> SkinLesionNet:
    torch.manual_seed(0)
    network = SkinLesionNet(len(LABELS), frozen_blocks)
    load_imagenet(network)
    torch.nn.init.ones_(network.classifier.weight)
    torch.nn.init.zeros_(network.classifier.bias)
    return network.eval()


def test_folding_the_normalisation_into_frozen_blocks_changes_nothing(pixels: torch.Tensor) -> None:
    plain, folded = with_imagenet_weights(0), with_imagenet_weights(5)
    torch.testing.assert_close(folded(pixels), plain(pixels), rtol=1e-4, atol=1e-4)


def test_frozen_blocks_get_no_gradient_and_the_others_do(pixels: torch.Tensor) -> None:
    network = with_imagenet_weights(3).train()
    network(pixels).sum().backward()
    assert all(parameter.grad is None for block in network.blocks[:3] for parameter in block.parameters())
    assert all(parameter.grad is not None for block in network.blocks[3:] for parameter in block.parameters())


@pytest.mark.parametrize(("variant", "side"), [("lite0", 224), ("lite2", 260)])
def test_a_variant_sees_what_the_published_network_sees(variant: str, side: int) -> None:
    """At the side that it was published for: the package pads every other side as it would pad that one."""
    network = SkinLesionNet(len(LABELS), variant=variant)
    load_imagenet(network)
    published = EfficientNet.from_name(f"efficientnet-{variant}").eval()
    published.load_state_dict(torch.load(VARIANTS[variant].weights(), weights_only=True))
    pixels = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network.eval().features(pixels), published.extract_features((pixels.float() - 127) / 128).mean((2, 3)))


def test_fixed_statistics_make_a_training_answer_independent_of_its_batch(pixels: torch.Tensor) -> None:
    network = SkinLesionNet(len(LABELS), dropout=0.0, fixed_statistics=True).train()
    torch.testing.assert_close(network(pixels)[:1], network(pixels[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("stride", "side"), [(1, 4), (2, 8)])
def test_the_quick_depthwise_gradients_are_those_of_the_convolution(monkeypatch: pytest.MonkeyPatch, stride: int, side: int) -> None:
    monkeypatch.setattr(depthwise, "_compiled", lambda: depthwise._weight_gradient)  # the same sums without the compiler
    x = torch.randn(3, 6, side, side, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, weight, None, stride, 2, 1, 6)
    outer = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, weight), outer)
    found = depthwise.depthwise_conv(x, weight, stride, 2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, (x, weight), outer), wanted)


def test_eight_turns_are_all_different_and_the_first_changes_nothing(pixels: torch.Tensor) -> None:
    turned = [dihedral(pixels[0], turn) for turn in range(8)]
    assert torch.equal(turned[0], pixels[0])
    assert len({image.contiguous().numpy().tobytes() for image in turned}) == 8


def test_a_batch_is_turned_as_each_of_its_images_would_be(pixels: torch.Tensor) -> None:
    images, turns = pixels[:1].expand(8, -1, -1, -1), torch.arange(8).flip(0)
    expected = torch.stack([dihedral(image, int(turn)) for image, turn in zip(images, turns, strict=True)])
    turned = turn_each(images, turns)
    assert torch.equal(turned, expected)
    assert turned.is_contiguous()


def test_augmentation_without_strength_only_turns(pixels: torch.Tensor) -> None:
    changed = augment(pixels, STILL, torch.Generator().manual_seed(1))
    for image, original in zip(changed, pixels, strict=True):
        turned = [dihedral(original, turn).float() for turn in range(8)]
        assert any(torch.allclose(image, candidate, atol=1e-3) for candidate in turned)


def test_augmentation_is_the_same_for_the_same_seed_and_stays_in_range(pixels: torch.Tensor) -> None:
    once, again = (augment(pixels, Augmentation(), torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(once, again)
    assert once.min() >= 0
    assert once.max() <= 255


def test_mixup_mixes_targets_as_it_mixes_images() -> None:
    settings = Augmentation(mixup_probability=1.0, mixup_alpha=1.0)
    images, targets = torch.tensor([0.0, 100.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4), torch.eye(2)
    mixed, soft = mix(images, targets, settings, torch.Generator().manual_seed(0))
    share = soft[0, 1].item()
    assert 0 < share <= 0.5
    assert mixed[0].mean().item() == pytest.approx(100 * share, abs=1e-3)
    assert mixed[1].mean().item() == pytest.approx(100 * (1 - share), abs=1e-3)


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    config = Config(warmup_share=0.1)
    optimizer = optimizer_for(SkinLesionNet(len(LABELS)), config)
    rates = []
    for progress in (0.0, 0.05, 0.1, 0.5, 1.0):
        set_learning_rate(optimizer, config, progress)
        rates.append(max(group["lr"] for group in optimizer.param_groups) / config.head_learning_rate)
    assert rates == pytest.approx([0, 0.5, 1, 0.6, 0.01], abs=0.02)


def test_biases_and_normalisation_do_not_decay() -> None:
    network = SkinLesionNet(len(LABELS))
    optimizer = optimizer_for(network, Config())
    decaying = {id(parameter) for group in optimizer.param_groups if group["weight_decay"] > 0 for parameter in group["params"]}
    assert decaying == {id(parameter) for parameter in network.parameters() if parameter.ndim > 1}


def test_a_soup_is_the_mean_of_its_parts() -> None:
    soup = average([{"w": torch.tensor([1.0]), "n": torch.tensor(3)}, {"w": torch.tensor([3.0]), "n": torch.tensor(5)}])
    assert soup["w"].item() == 2
    assert soup["n"].item() == 3


def test_an_epoch_is_kept_at_half_precision_where_it_is_large_and_averaged_at_full() -> None:
    kept = halved({"w": torch.full((2, 2), 1 / 3), "variance": torch.full((2,), 1e-9), "n": torch.tensor(3)})
    assert (kept["w"].dtype, kept["variance"].dtype, kept["n"].dtype) == (torch.float16, torch.float32, torch.int64)
    soup = average([kept, {**kept, "w": torch.full((2, 2), 1.0)}])
    assert soup["w"].dtype == torch.float32
    torch.testing.assert_close(soup["w"], torch.full((2, 2), 2 / 3), rtol=2**-11, atol=0)


def test_an_ensemble_answers_the_mean_of_its_members_probabilities(pixels: torch.Tensor) -> None:
    members = [with_imagenet_weights(0), SkinLesionNet(len(LABELS), variant="lite2").eval()]
    ensemble = Ensemble(members).eval()
    mean = sum(member(pixels).softmax(1) for member in members) / 2
    torch.testing.assert_close(ensemble(pixels).exp(), mean)
    ensemble.move_logits(torch.arange(len(LABELS)).float())
    torch.testing.assert_close(ensemble(pixels), mean.log() + torch.arange(len(LABELS)))


def test_a_temperature_goes_into_the_classifier(pixels: torch.Tensor) -> None:
    network = with_imagenet_weights(0)
    network.classifier.bias.data += 1
    before = network(pixels)
    network.divide_logits(2.0)
    torch.testing.assert_close(network(pixels), before / 2)


def test_teachers_move_a_target_by_their_weight_and_none_leaves_it() -> None:
    labels, images = torch.eye(len(LABELS))[:2], torch.zeros(2, 3, 8, 8)
    sure = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, len(LABELS)))
    torch.nn.init.zeros_(sure[1].weight)
    sure[1].bias.data = torch.tensor([50.0] + [0.0] * 6)  # always certain of the first class
    moved = teach(Ensemble([sure]), images, labels, 0.7)
    torch.testing.assert_close(moved[1], torch.tensor([0.7, 0.3, 0, 0, 0, 0, 0]))
    assert teach(None, images, labels, 0.7) is labels


def separable(count: int, seed: int) -> Scored:
    """Random labels, and probabilities that lean towards the true one."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(LABELS), count)
    logits = generator.normal(size=(count, len(LABELS))) + 2 * np.eye(len(LABELS))[labels]
    return Scored(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels)


def test_promised_sensitivities_are_ordered_and_hold_on_many_unseen_lesions() -> None:
    validation, test = separable(3000, 0), separable(3000, 1)
    tested = Unseen(test, separable(3000, 2), GroupBootstrap([str(i) for i in range(3000)], replicates=200), "test")
    target = build_target(QUESTIONS[0], validation, [str(i) for i in range(3000)], tested)
    thresholds = [target.operating_point(f"sensitivity-{percent}").threshold for percent in (82, 89, 95)]
    assert thresholds == sorted(thresholds, reverse=True)
    for promise in (0.82, 0.89, 0.95):
        point = target.operating_point(f"sensitivity-{round(promise * 100)}")
        assert point.sensitivity.value == pytest.approx(promise, abs=0.04)
        assert point.sensitivity.ci95[0] < point.sensitivity.value < point.sensitivity.ci95[1]
        assert target.at(point.threshold) == (point.sensitivity, point.specificity)
        called = QUESTIONS[0].score(test.probabilities) >= point.threshold
        assert point.sensitivity.value == pytest.approx(called[QUESTIONS[0].positive(test.labels)].mean(), abs=1e-4)
    assert target.augmented is not None
    assert target.augmented.at(0.5) != target.at(0.5)


def test_malignant_sums_its_three_diagnoses() -> None:
    malignant = QUESTIONS[2]
    assert malignant.score(np.arange(7)[None] / 21).item() == pytest.approx((0 + 1 + 4) / 21)
    assert malignant.positive(np.arange(7)).tolist() == [True, True, False, False, True, False, False]


@pytest.mark.parametrize(("macro", "balanced"), [(1.0, 0.9), (0.98, 1.0), (0.5, 0.3), (0.7, 1 / 7), (float("nan"), 0.5)])
def test_a_figure_too_good_or_too_bad_fails_the_run(macro: float, balanced: float) -> None:
    with pytest.raises(InsaneFigure):
        check_sane({"macro_auroc": {"value": macro}, "balanced_accuracy": {"value": balanced}})


def test_a_plausible_figure_passes() -> None:
    check_sane({"macro_auroc": {"value": 0.96}, "balanced_accuracy": {"value": 0.8}})


@pytest.mark.parametrize(
    ("age", "group"), [(0.0, "0-29"), (29.0, "0-29"), (30.0, "30-44"), (75.0, "75+"), (85.0, "75+"), (None, "unknown")]
)
def test_age_groups_meet_without_overlap(age: float | None, group: str) -> None:
    assert age_group(Record("image", "lesion", "nv", age, "female", "back")) == group


def test_net_benefit_of_a_perfect_model_is_the_prevalence() -> None:
    labels = np.array([LABELS.index("mel")] * 2 + [LABELS.index("nv")] * 8)
    curve = decision_curve(QUESTIONS[0], Scored(np.eye(len(LABELS))[labels], labels))
    assert curve["model"] == pytest.approx([0.2] * len(curve["threshold"]))
    assert max(curve["everyone"]) < 0.2


def test_what_has_six_digits_keeps_them_and_nothing_is_rounded_up() -> None:
    kept = np.arange(20_000) / 1e6
    assert six_digits(kept) == tuple(kept.tolist())
    finer = np.random.default_rng(0).random(20_000)
    assert all(0 <= value - rounded < 1e-6 for value, rounded in zip(finer, six_digits(finer), strict=True))
