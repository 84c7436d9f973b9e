"""`axon-train cyclegan peaks`: how much to cut off, by training pictures alone. It prints what each of `peaks` comes to.

For each peak, 0 for none, and each direction: the Frechet distance of translated training pictures from real ones of the other
domain, over that of untranslated ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.kit.frechet import frechet_distance
from training.kit.run import Run
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import centres, load
from training.recipes.cyclegan.features import Features
from training.recipes.cyclegan.figures import directions
from training.recipes.cyclegan.samples import translate
from training.recipes.cyclegan.state import load_generators

PICTURES = 150  # of each domain


def main(run: Run[Config]) -> None:
    domains, describe = load(run), Features()
    pictures, features = [], []
    for domain in (domains.a, domains.b):
        drawn = np.random.default_rng(1).permutation(domain.splits["train"])[:PICTURES]
        pictures.append(centres(domain, np.sort(drawn), run.config.crop_size))
        features.append(describe(pictures[-1], "training pictures"))
    untranslated = frechet_distance(*features)
    for peak in run.config.peaks:
        generators, _ = load_generators(replace(run, config=replace(run.config, peak=peak)))
        for forth, (direction, generator) in enumerate(zip(directions(run.config), generators.children(), strict=True)):
            translated = describe(translate(generator, pictures[forth]), direction)
            print(f"peak {peak:g}, {direction}: {frechet_distance(translated, features[1 - forth]) / untranslated:.3f}", flush=True)
