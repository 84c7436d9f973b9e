"""TransformNet (Johnson, Alahi & Fei-Fei 2016, arXiv:1603.08155) with conditional instance normalisation
(Dumoulin, Shlens & Kudlur 2017, arXiv:1610.07629): all styles share the convolutions, each has its own row of scales and shifts.

Where we differ: fewer channels than Johnson's (`NetConfig.width`), resized convolutions in place of transposed ones (no
checkerboard; Odena et al. 2016), and the answer is a share of the photograph plus what the network paints.
The share is one more number of a style's row.
Shapes: B images, 3 colours, H x W pixels, S styles (rows of the condition), C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEM_KERNEL, CANVAS_KERNEL = 7, 5
CANVAS_SCALE = 0.1  # of PyTorch's initial weights: a network starts near the photograph, not in colours far outside of it


class StyleNorm(nn.Module):
    """Instance normalisation whose scale and shift are the condition's mixture of the styles' rows."""

    def __init__(self, styles: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(styles, channels))
        self.shift = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = (condition @ self.scale)[:, :, None, None], (condition @ self.shift)[:, :, None, None]  # (B, C, 1, 1)
        return F.instance_norm(x) * scale + shift  # (B, C, h, w)


class StyledConv(nn.Module):
    """Reflected border, convolution, StyleNorm, and ReLU where `active`."""

    def __init__(self, styles: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, active: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="reflect", bias=False)
        self.norm = StyleNorm(styles, outputs)
        self.active = active

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.norm(self.conv(x), condition)
        return F.relu(x, inplace=True) if self.active else x


class Block(nn.Module):
    """A residual block without a ReLU behind the sum (Gross & Wilber 2016, as Johnson et al. have it)."""

    def __init__(self, styles: int, channels: int) -> None:
        super().__init__()
        self.first = StyledConv(styles, channels, channels)
        self.second = StyledConv(styles, channels, channels, active=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x, condition), condition)
        return out


class TransformNet(nn.Module):
    """Images in [0, 1] and weights of the styles to painted images; training sees them before they are clamped."""

    def __init__(self, styles: int, width: int = 16, blocks: int = 5, share: float = 0.5) -> None:
        """The last of the `styles` rows is the neutral one, which starts as the photograph itself; `share` is where the others start."""
        super().__init__()
        self.stem = StyledConv(styles, 3, width, STEM_KERNEL)
        self.down1 = StyledConv(styles, width, 2 * width, stride=2)
        self.down2 = StyledConv(styles, 2 * width, 4 * width, stride=2)
        self.blocks = nn.ModuleList(Block(styles, 4 * width) for _ in range(blocks))
        self.up1 = StyledConv(styles, 4 * width, 2 * width)
        self.up2 = StyledConv(styles, 2 * width, width)
        self.canvas = nn.Conv2d(width, 3, CANVAS_KERNEL, padding=CANVAS_KERNEL // 2, padding_mode="reflect", bias=False)
        self.share = nn.Parameter(torch.full((styles, 1), share))
        with torch.no_grad():
            self.canvas.weight *= CANVAS_SCALE
            self.share[-1] = 1
            self.up2.norm.scale[-1] = 0

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """(B, 3, H, W), (B, S) -> (B, 3, H, W) for any H and W: an odd side is halved upwards and cut again when it is doubled."""
        full = self.stem(images, condition)  # (B, C, H, W)
        half = self.down1(full, condition)  # (B, 2C, H / 2, W / 2)
        x = self.down2(half, condition)  # (B, 4C, H / 4, W / 4)
        for block in self.blocks:
            x = block(x, condition)
        x = self.up1(enlarge(x, half), condition)  # (B, 2C, H / 2, W / 2)
        x = self.up2(enlarge(x, full), condition)  # (B, C, H, W)
        share = (condition @ self.share)[:, :, None, None]  # (B, 1, 1, 1)
        out: Tensor = share * images + self.canvas(x)
        return out


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Each pixel four times, cut to the size of `like`, (B, C, h, w) -> (B, C, H, W) with H = 2h or 2h - 1."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, : like.shape[2], : like.shape[3]]


def with_new_style(network: TransformNet) -> TransformNet:
    """The same network with one more row before the neutral one: the mean of the painted ones, from which it learns its own."""
    state = network.state_dict()
    for name, rows in style_rows(network).items():
        state[name] = torch.cat([rows[:-1], rows[:-1].mean(0, keepdim=True), rows[-1:]])  # (S, C) -> (S + 1, C)
    grown = TransformNet(len(state["share"]), network.stem.conv.out_channels, len(network.blocks))
    grown.load_state_dict(state)
    return grown.to(memory_format=torch.channels_last)


def style_rows(network: TransformNet) -> dict[str, nn.Parameter]:
    """Everything that belongs to a style: scales, shifts and the photograph's share, a row a style each."""
    return {name: parameter for name, parameter in network.named_parameters() if name.endswith((".scale", ".shift")) or name == "share"}
