"""The figures of a pair of generators on pictures that training never saw, each with n, its interval and what it rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.kit.frechet import distance_interval, frechet_distance, kernel_distance
from training.kit.roc import Interval, interval
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import Domain, Domains, centres

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating]
Metric = dict[str, Any]
Describe = Callable[[Pixels, str], Floats]  # pictures and what they are -> features
Translate = Callable[[int, Pixels], Pixels]  # 0 from A to B, 1 from B to A
DISTANCES = {"frechet_distance": frechet_distance, "kernel_distance": kernel_distance}


@dataclass(frozen=True)
class Real:
    """Real pictures of both domains, as many of each: (A, B). `unseen` are test pictures, `seen` were trained on."""

    unseen: tuple[Pixels, Pixels]
    unseen_features: tuple[Floats, Floats]
    seen_features: tuple[Floats, Floats]

    @property
    def n(self) -> int:
        return len(self.unseen[0])


def directions(config: Config) -> tuple[str, str]:
    """The names that a client chooses from."""
    return f"{config.name_a}-to-{config.name_b}", f"{config.name_b}-to-{config.name_a}"


def read_real(domains: Domains, config: Config, describe: Describe) -> Real:
    """Few pictures bias a Frechet distance upwards, so that every heap has as many: the smaller test split's."""
    pair = domains.a, domains.b
    n = min(len(domain.splits["test"]) for domain in pair)
    names = config.name_a, config.name_b
    unseen = tuple(_pick(domain, "test", n, config) for domain in pair)
    seen = tuple(_pick(domain, "train", n, config) for domain in pair)
    return Real(
        unseen=(unseen[0], unseen[1]),
        unseen_features=_both(describe, unseen, [f"unseen {name}s" for name in names]),
        seen_features=_both(describe, seen, [f"training {name}s" for name in names]),
    )


def _pick(domain: Domain, split: str, n: int, config: Config) -> Pixels:
    chosen = np.random.default_rng(0).permutation(domain.splits[split])[:n]
    return centres(domain, np.sort(chosen), config.crop_size)


def _both(describe: Describe, heaps: tuple[Pixels, ...], what: list[str]) -> tuple[Floats, Floats]:
    first, second = (describe(heap, name) for heap, name in zip(heaps, what, strict=True))
    return first, second


def measure_floors(real: Real, config: Config) -> list[Metric]:
    """What a distance is worth: pictures left as they are, and real ones that were trained on, against unseen real ones."""
    metrics = []
    for target, direction in ((1, directions(config)[0]), (0, directions(config)[1])):
        wanted = real.unseen_features[target]
        for name, distance in DISTANCES.items():
            untranslated = distance_interval(distance, real.unseen_features[1 - target], wanted)
            trained_on = distance_interval(distance, real.seen_features[target], wanted)
            metrics.append(_metric(f"{name}_untranslated", untranslated, real.n, direction, config, "identity: pictures as they were"))
            metrics.append(_metric(f"{name}_real", trained_on, real.n, direction, config, "real training pictures of the target domain"))
    return metrics


def measure(real: Real, config: Config, translate: Translate, describe: Describe, way: str) -> list[Metric]:
    """Distances of translated pictures, their share of the untranslated ones', and what the way there and back loses."""
    metrics = []
    for forth, direction in enumerate(directions(config)):
        source, target = real.unseen[forth], real.unseen_features[1 - forth]
        fakes = translate(forth, source)
        features = describe(fakes, f"{direction}, {way}")
        for name, distance in DISTANCES.items():
            metrics.append(_metric(name, distance_interval(distance, features, target), real.n, direction, config, way))
        ratio = _ratio_interval(features, real.unseen_features[forth], target)
        metrics.append(_metric("frechet_ratio_to_untranslated", ratio, real.n, direction, config, way))
        metrics.append(_metric("cycle_error", _cycle_error(source, translate(1 - forth, fakes)), real.n, direction, config, way))
    return metrics


def _ratio_interval(translated: Floats, untranslated: Floats, target: Floats, replicates: int = 500) -> Interval:
    """The two distances share their pictures, so both are measured on the same draws."""

    def ratio(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> float:
        return frechet_distance(translated[rows], target[columns]) / frechet_distance(untranslated[rows], target[columns])

    n, m = len(translated), len(target)
    value, generator = ratio(np.arange(n), np.arange(m)), np.random.default_rng(0)
    draws = np.array([ratio(generator.integers(n, size=n), generator.integers(m, size=m)) for _ in range(replicates)])
    return interval(value, draws - draws.mean() + value)


def _cycle_error(real: Pixels, back: Pixels) -> Interval:
    """Mean absolute difference of a picture from itself after the way there and back, of a range from 0 to 1."""
    errors = np.abs(real.astype(np.float64) - back).mean((1, 2, 3)) / 255  # (N,)
    generator = np.random.default_rng(0)
    means = np.array([errors[generator.integers(len(errors), size=len(errors))].mean() for _ in range(2000)])
    return interval(float(errors.mean()), means)


def _metric(name: str, found: Interval, n: int, direction: str, config: Config, way: str) -> Metric:
    numbers = {"value": round(found.value, 4), "ci95": (round(found.low, 4), round(found.high, 4)), "n": n}
    note = f"{way}; {direction}; {config.crop_size} px, EfficientNet-Lite0 features, lambda_identity {config.lambda_identity:g}"
    return {"name": name, **numbers, "split": f"{n} test pictures of each domain", "note": note}
