"""VGG19 from the files that people have, written here with made-up weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.kit.data import DataError
from training.nets.vgg19 import CAFFE_MEAN, LAYERS, Vgg19Features, find_vgg19, load_vgg19, stand_in


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, data = {}, b""
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def weights_of(network: Vgg19Features) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if name.startswith("conv")}


@pytest.fixture(scope="module")
def short() -> Vgg19Features:
    torch.manual_seed(0)
    return Vgg19Features(depth=4).eval()


def test_layers_are_those_of_the_paper() -> None:
    assert len(LAYERS) == 16
    assert (LAYERS[0], LAYERS[4], LAYERS[-1]) == ("conv1_1", "conv3_1", "conv5_4")


def test_a_layer_gives_rectified_activations_of_its_blocks_size(short: Vgg19Features) -> None:
    found = short(torch.rand(2, 3, 32, 48), ["conv1_2", "conv2_1"])
    assert {name: tuple(value.shape) for name, value in found.items()} == {"conv1_2": (2, 64, 32, 48), "conv2_1": (2, 128, 16, 24)}
    assert min(value.min().item() for value in found.values()) >= 0


def test_pixels_are_centred_on_the_means_of_the_weights(short: Vgg19Features) -> None:
    grey = (torch.tensor(CAFFE_MEAN) / 255).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    bias = torch.relu(short.get_submodule("conv1_1").bias)  # type: ignore[arg-type]
    torch.testing.assert_close(short(grey, ["conv1_1"])["conv1_1"][0, :, 4, 4], bias, atol=1e-4, rtol=1e-4)


def test_a_safetensors_file_gives_its_own_weights(short: Vgg19Features, tmp_path: Path) -> None:
    path = tmp_path / "vgg19.safetensors"
    write_safetensors(path, {name: value.numpy() for name, value in weights_of(short).items()})
    loaded = load_vgg19(path)
    assert loaded.layers == LAYERS[:4]
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded(image, ["conv2_2"])["conv2_2"], short(image, ["conv2_2"])["conv2_2"])


def test_a_torchvision_checkpoint_answers_as_torchvisions_layers_do(short: Vgg19Features, tmp_path: Path) -> None:
    convolutions = [short.get_submodule(layer) for layer in short.layers]
    features = nn.Sequential(
        convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), nn.MaxPool2d(2), convolutions[2], nn.ReLU(), convolutions[3], nn.ReLU()
    )
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, tmp_path / "vgg19.pth")
    image = torch.rand(1, 3, 16, 16)
    normalised = (image - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = features(normalised)
    torch.testing.assert_close(find_vgg19("vgg19.pth", tmp_path)(image, ["conv2_2"])["conv2_2"], expected, atol=1e-5, rtol=1e-4)


def test_a_layer_that_the_weights_do_not_reach_is_named(short: Vgg19Features) -> None:
    with pytest.raises(DataError, match=r"end at conv2_2; conv4_2 needs a full checkpoint"):
        short(torch.rand(1, 3, 16, 16), ["conv1_1", "conv4_2"])


def test_a_file_that_is_missing_or_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name VGG19's weights"):
        load_vgg19(tmp_path / "none.safetensors")
    write_safetensors(tmp_path / "other.safetensors", {"layer.weight": np.zeros(3, np.float32)})
    with pytest.raises(DataError, match="holds no VGG19"):
        load_vgg19(tmp_path / "other.safetensors")


def test_the_stand_in_is_the_same_every_time() -> None:
    assert torch.equal(stand_in().get_submodule("conv3_4").weight, stand_in().get_submodule("conv3_4").weight)  # type: ignore[arg-type]
