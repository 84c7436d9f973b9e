"""A training step as one CUDA graph: small networks on a large GPU otherwise wait for Python to start their kernels.

A step is a function of tensors that keep their shapes, and waits for no result. On a GPU it is recorded once and then
replayed as a whole (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs); on a CPU it is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Tensors = dict[str, Tensor]
WARM_UP = 3  # steps before the recording: optimisers make their state, cuDNN chooses its kernels. They count like any other


@dataclass
class _Recording:
    inputs: Tensors  # the places that the graph reads from
    calls: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    outputs: Tensors = field(default_factory=dict)


class StepGraph:
    """`step(inputs, **choices) -> outputs`, recorded anew for other shapes and for other `choices`.

    All inputs are tensors; whatever Python decides in the step is decided when it is recorded, unless it is a choice.
    Outputs hold until the next call. Optimisers must have been through `place_optimizer`.
    """

    def __init__(self, step: Callable[..., Tensors], device: torch.device, record: bool = True) -> None:
        """Without `record` a GPU too is given the step as it is: one in which processes wait for each other's gradients."""
        self._step, self._device, self._record = step, device, record and device.type == "cuda"
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self, inputs: Tensors, **choices: Hashable) -> Tensors:
        if not self._record:
            return self._step({name: tensor.to(self._device) for name, tensor in inputs.items()}, **choices)
        key = tuple(choices.items()), tuple((name, tensor.shape, tensor.dtype) for name, tensor in inputs.items())
        if key not in self._recordings:
            self._recordings[key] = _Recording({name: torch.empty_like(tensor, device=self._device) for name, tensor in inputs.items()})
        recording = self._recordings[key]
        for name, tensor in inputs.items():
            recording.inputs[name].copy_(tensor.pin_memory() if tensor.device.type == "cpu" else tensor, non_blocking=True)
        recording.calls += 1
        if recording.calls <= WARM_UP:
            return self._warm_up(recording, choices)
        if recording.graph is None:
            recording.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recording.graph):
                recording.outputs = self._step(recording.inputs, **choices)
        recording.graph.replay()
        return recording.outputs

    def _warm_up(self, recording: _Recording, choices: dict[str, Hashable]) -> Tensors:
        """A step as it is, on a stream of its own, as PyTorch asks for before a recording."""
        aside, now = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(now)
        with torch.cuda.stream(aside):
            outputs = self._step(recording.inputs, **choices)
        now.wait_stream(aside)
        return outputs

    def forget(self) -> None:
        """Free what was recorded, before a step of other shapes."""
        self._recordings.clear()


def place_optimizer(optimizer: Optimizer, device: torch.device) -> None:
    """Make an Adam ready for a graph on a GPU: its rate and its counts of steps become tensors there. On a CPU they stay plain.

    To be called after `load_state_dict`, which brings what the other machine had.
    """
    on_gpu = device.type == "cuda"
    for group in optimizer.param_groups:
        group["capturable"] = on_gpu
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32).to(device) if on_gpu else float(group["lr"])
    for state in optimizer.state.values():
        state["step"] = state["step"].to(device)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The learning rate of every group, in place where a graph reads it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """What AveragedModel.update_parameters does from its second call on, without its copy to the processor, which no graph may hold."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
