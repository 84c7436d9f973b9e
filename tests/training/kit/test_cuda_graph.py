"""A recorded step learns what the same step learns without a recording."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from training.kit.cuda_graph import StepGraph, Tensors, follow, place_optimizer, set_rate

CPU = torch.device("cpu")
STEPS = 9


class Learner:
    """One linear layer, its Adam, and what it has been called with."""

    def __init__(self, device: torch.device) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(3, 1).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1, fused=True)
        self.runs = 0

    def __call__(self, inputs: Tensors, halved: bool) -> Tensors:
        self.runs += 1
        loss = (self.network(inputs["x"]) - inputs["y"]).square().mean() / (2 if halved else 1)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}


def learn(device: torch.device, record: bool = True) -> tuple[Learner, list[float]]:
    learner, draws = Learner(device), torch.Generator().manual_seed(1)
    place_optimizer(learner.optimizer, device)
    take_step, losses = StepGraph(learner, device, record), []
    for step in range(STEPS):
        set_rate(learner.optimizer, 0.1 / (1 + step))
        x = torch.randn(4, 3, generator=draws)
        losses.append(take_step({"x": x, "y": x.sum(1, keepdim=True)}, halved=step % 2 == 0)["loss"].item())
    return learner, losses


def test_on_a_cpu_a_step_is_called_as_it_is() -> None:
    learner, losses = learn(CPU)
    assert learner.runs == STEPS
    assert losses[-1] < losses[1]
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / STEPS)


def test_an_average_follows_by_its_decay() -> None:
    network, average = nn.Linear(2, 1), nn.Linear(2, 1)
    before = [parameter.detach().clone() for parameter in average.parameters()]
    follow(average, network, decay=0.75)
    for old, new, parameter in zip(before, average.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * parameter)
        assert new.requires_grad  # as it was


@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT SHOWN: there is no GPU here")
def test_on_a_gpu_a_recorded_step_learns_the_same() -> None:
    (plain, expected), (recorded, losses) = learn(CPU), learn(torch.device("cuda"))
    assert recorded.runs == 8  # of each of two kinds three warm up, and one is recorded
    assert losses == pytest.approx(expected, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(recorded.network.weight.cpu(), plain.network.weight, rtol=1e-3, atol=1e-4)
    assert learn(torch.device("cuda"), record=False)[0].runs == STEPS


def test_an_optimiser_goes_on_on_a_cpu_after_a_gpu() -> None:
    learner, _ = learn(CPU)
    saved = copy.deepcopy(learner.optimizer.state_dict())
    for group in saved["param_groups"]:  # as a checkpoint of a GPU has it
        group["lr"], group["capturable"] = torch.tensor(group["lr"]), True
    learner.optimizer.load_state_dict(saved)
    place_optimizer(learner.optimizer, CPU)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / STEPS)
    learner({"x": torch.ones(1, 3), "y": torch.ones(1, 1)}, halved=False)
