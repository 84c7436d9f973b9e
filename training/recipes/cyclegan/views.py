"""What a discriminator looks at: a picture's pixels, or what a frozen network sees in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.kit.run import Run
from training.nets.vgg19 import find_vgg19, stand_in
from training.recipes.cyclegan.config import Config

REFERENCE_SIDE = 96  # pixels of the noise that sets the scale of a layer


class Views(nn.Module):
    """Layers of VGG19, each in a few fixed random mixtures of its channels; without layers the pixels themselves.

    Eyes that know edges and textures from the first step on save a discriminator most of its training, and a generator
    learns from it what it would have learnt much later (Sauer et al. 2021, arXiv:2111.01007, whose random mixtures keep
    the discriminator from looking at a few channels alone; Kumari et al. 2022, arXiv:2112.09130). Nothing here is trained.
    VGG19 is not the network that distances are measured in.
    """

    def __init__(self, run: Run[Config]) -> None:
        super().__init__()
        self.layers = run.config.net.features
        if not self.layers:
            return
        self.features = stand_in() if run.config.synthetic_pictures else find_vgg19(run.config.vgg19, run.data_root)
        self.features.to(memory_format=torch.channels_last)
        draws = torch.Generator().manual_seed(0)
        noise = torch.rand(1, 3, REFERENCE_SIDE, REFERENCE_SIDE, generator=draws)
        for layer, found in self.features(noise, self.layers).items():
            channels = run.config.net.discriminator_channels, found.shape[1]
            mixture = torch.randn(*channels, 1, 1, generator=draws) / channels[1] ** 0.5
            self.register_buffer(f"mixture_{layer}", mixture / found.square().mean().sqrt())

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> for each layer (B, C, H / s, W / s), of about unit size; or the pictures alone."""
        if not self.layers:
            return [pictures]
        found = self.features((pictures + 1) / 2, self.layers)
        return [nn.functional.conv2d(found[layer], self.get_buffer(f"mixture_{layer}")) for layer in self.layers]
