"""Fine-tune EfficientNet-Lite. The loop is here in full; Lightning Fabric places it on a CPU, a GPU or many processes.

A run that was killed goes on from its last finished epoch with the same command, to the same result: every epoch's
draws come from (seed, epoch). With several processes each one takes its part of the same global batches.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.kit import checkpoint
from training.kit.config import ConfigError, config_dict, refuse_other_config
from training.kit.processes import launch_fabric, refuse_uneven
from training.kit.roc import auroc, macro_auroc, recalls
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.skin_lesion.augmentation import augment, mix
from training.recipes.skin_lesion.config import GOES_ON, Config
from training.recipes.skin_lesion.data import LABELS, SkinLesions, load
from training.recipes.skin_lesion.ensemble import Ensemble
from training.recipes.skin_lesion.epochs import halved
from training.recipes.skin_lesion.model import SkinLesionNet, build, load_imagenet
from training.recipes.skin_lesion.teachers import check_teachers, load_teachers, teach


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(precision=run.config.precision)
    if config.members:
        raise ConfigError(f"there is nothing to train: train {', '.join(config.members)}, then `axon-train {run.recipe} evaluate`")
    refuse_uneven(fabric, batch_size=config.batch_size)
    check_teachers(run)  # before the data set is prepared for nothing
    lesions = on_device(load_once(run, fabric), fabric.device)
    torch.manual_seed(config.seed)
    teachers = load_teachers(run)
    network = start(config, teachers, fabric)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True).to(fabric.device)
    model, optimizer = fabric.setup(network, optimizer_for(network, config, fused=fabric.device.type == "cuda"))
    first, duration_s = resume(run, network, average, optimizer)
    if teachers is not None:
        teachers.to(fabric.device)
        if fabric.global_rank == 0 and first == 0:  # more than they know the student cannot well learn from them
            print(f"the teachers together: {line(measure(teachers, lesions, 'validation', config))}", flush=True)
    run_log = RunLog(run.directory, run.recipe, resume_epoch=first, quiet=fabric.global_rank > 0)
    steps = len(lesions.splits["train"]) // config.batch_size
    for epoch in range(first, config.epochs):
        began, losses = time.perf_counter(), []
        torch.manual_seed(hash((config.seed, epoch, fabric.global_rank)))  # dropout and drop path
        batches = draw_batches(lesions, config, epoch, steps)
        model.train()
        for step, rows in enumerate(tqdm(batches, desc=f"epoch {epoch}", unit="batch", disable=fabric.global_rank > 0, mininterval=5)):
            set_learning_rate(optimizer, config, (epoch * steps + step) / (config.epochs * steps))
            mine = slice(fabric.global_rank * len(rows) // fabric.world_size, (fabric.global_rank + 1) * len(rows) // fabric.world_size)
            images, targets = (part[mine] for part in load_batch(lesions, config, epoch, step, rows, fabric.device))
            with fabric.autocast():
                targets = teach(teachers, images, targets, config.teaching_weight)
            loss = F.cross_entropy(model(images), targets)  # (B, K) twice
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
            average.update_parameters(network)
            losses.append(fabric.all_reduce(loss.detach(), reduce_op="mean"))
        if fabric.global_rank == 0:
            measured = measure(average.module, lesions, "validation", config)
            duration_s += time.perf_counter() - began
            run_log.write(epoch, train_loss=torch.stack(losses).mean().item(), **measured, seconds=time.perf_counter() - began)
            keep(run, average.module, epoch, measured, duration_s)
            save(run, network, average, optimizer, epoch + 1, duration_s)
        fabric.barrier()


def load_once(run: Run[Config], fabric: Fabric) -> SkinLesions:
    """What is missing is prepared by one of the processes, before the others read it."""
    if fabric.global_rank == 0:
        load(run)
    fabric.barrier()
    return load(run)


def start(config: Config, teachers: Ensemble | None, fabric: Fabric) -> nn.Module:
    """The network before its first step: the first teacher's weights, or ImageNet's where there is none of its variant."""
    network = build(config)
    first = None if teachers is None else teachers.members[0]
    if first is not None and first.variant == config.variant:
        network.load_state_dict(first.state_dict())
    else:
        load_imagenet(network)
    if config.fast_gradients:
        network.use_fast_gradients()
    if fabric.world_size > 1 and fabric.device.type == "cuda":  # there is none for the CPU: see Config.fixed_statistics
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return network.to(memory_format=torch.channels_last)


def optimizer_for(network: SkinLesionNet, config: Config, fused: bool = False) -> torch.optim.AdamW:
    """AdamW; no weight decay on biases and normalisation, a higher rate for the new classifier. `fused`: one kernel a group, for a GPU."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("classifier"), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": config.head_learning_rate if new else config.learning_rate,
                "weight_decay": config.weight_decay if matrix else 0.0,
            }
            for (new, matrix), parameters in groups.items()
        ],
        fused=fused or None,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, config: Config, progress: float) -> None:
    """Linear warm-up, then half a cosine down to 1 % of the peak; `progress` is 0 at the first step and 1 after the last."""
    warm = min(progress / config.warmup_share, 1.0) if config.warmup_share else 1.0
    down = max(progress - config.warmup_share, 0) / (1 - config.warmup_share)
    factor = warm * (0.01 + 0.99 * (1 + math.cos(math.pi * down)) / 2)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def draw_batches(lesions: SkinLesions, config: Config, epoch: int, steps: int) -> NDArray[np.int64]:
    """An epoch's rows, (steps, batch): with replacement, a class of n images in proportion to n ** class_power."""
    rows = lesions.splits["train"]
    labels = lesions.labels[rows]
    weights = np.bincount(labels, minlength=len(LABELS)).astype(float)[labels] ** (config.class_power - 1)
    generator = np.random.default_rng((config.seed, epoch))
    return generator.choice(rows, size=(steps, config.batch_size), p=weights / weights.sum())


def training_size(config: Config, epoch: int) -> int:
    return config.warmup_image_size if epoch < config.small_epochs else config.image_size


def on_device(lesions: SkinLesions, device: torch.device) -> SkinLesions:
    """With all pixels on a GPU (at 192 px 0.9 GB), where batches are then made; for a CPU they stay in their files."""
    if device.type != "cuda":
        return lesions
    return replace(lesions, pixels={size: torch.from_numpy(np.array(pixels)).to(device) for size, pixels in lesions.pixels.items()})


def take(pixels: NDArray[np.uint8] | Tensor, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """Some rows of the pixels, on the device, wherever the pixels are."""
    if isinstance(pixels, Tensor):
        return pixels[torch.from_numpy(rows).to(pixels.device)].to(device)
    return torch.from_numpy(pixels[rows]).to(device)


def load_batch(
    lesions: SkinLesions, config: Config, epoch: int, step: int, rows: NDArray[np.int64], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The whole global batch, augmented: images (B, 3, S, S) and soft targets (B, K). The same in every process."""
    generator = torch.Generator().manual_seed((config.seed * 1_000 + epoch) * 1_000_000 + step)
    pixels = take(lesions.pixels[training_size(config, epoch)], rows, device)
    smoothing = config.label_smoothing
    labels = torch.from_numpy(lesions.labels[rows]).to(device)
    targets = F.one_hot(labels, len(LABELS)) * (1 - smoothing) + smoothing / len(LABELS)
    images = augment(pixels, config.augmentation, generator)
    images, targets = mix(images, targets, config.augmentation, generator)
    return images.contiguous(memory_format=torch.channels_last), targets


@torch.no_grad()
def predict(network: nn.Module, pixels: NDArray[np.uint8] | Tensor) -> NDArray[np.float32]:
    """Logits (N, K) of uint8 pixels (N, 3, S, S), one view each."""
    network.eval()
    device = next(network.parameters()).device
    batch_size = 256 if device.type == "cuda" else 32
    places = tqdm(range(0, len(pixels), batch_size), "answers", unit="batch", leave=False, mininterval=5)
    batches = (torch.as_tensor(pixels[i : i + batch_size]) for i in places)
    logits = [network(batch.contiguous(memory_format=torch.channels_last).to(device)).cpu() for batch in batches]
    return torch.cat(logits).numpy()


def measure(network: nn.Module, lesions: SkinLesions, split: str, config: Config) -> dict[str, float]:
    """The figures that the choice of an epoch rests on."""
    rows = lesions.splits[split]
    pixels = take(lesions.pixels[config.image_size], rows, next(network.parameters()).device)
    return score(torch.from_numpy(predict(network, pixels)), lesions.labels[rows])


def score(logits: Tensor, labels: NDArray[np.int64]) -> dict[str, float]:
    """`score` is the mean of the three figures that the model is for; logits (N, K), labels (N,)."""
    probabilities = logits.softmax(1).numpy()
    melanoma = LABELS.index("mel")
    figures = {
        "melanoma_auroc": auroc(probabilities[:, melanoma], labels == melanoma),
        "macro_auroc": macro_auroc(probabilities, labels),
        "balanced_accuracy": float(np.nanmean(recalls(probabilities.argmax(1), labels, len(LABELS)))),
    }
    loss = F.cross_entropy(logits, torch.from_numpy(labels)).item()
    return {"validation_loss": loss, **figures, "score": sum(figures.values()) / len(figures)}


def line(measured: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in measured.items())


def keep(run: Run[Config], network: nn.Module, epoch: int, measured: dict[str, float], duration_s: float) -> None:
    """Write the averaged weights of an epoch at half precision, with the figures of the whole ones on validation lesions."""
    state = {"model": halved(network.state_dict()), "epoch": epoch, "measured": measured, "duration_s": duration_s}
    checkpoint.save(run.directory / "epochs" / f"{epoch:03d}.pt", {**state, "config": config_dict(run.config)})


def save(run: Run[Config], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, duration_s: float) -> None:
    state = {"model": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(run.checkpoint, {**state, "epoch": epoch, "duration_s": duration_s, "config": config_dict(run.config)})


def resume(run: Run[Config], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Bring back the last finished epoch: (epoch to do next, seconds spent). Raises ConfigError where it began with other settings."""
    state: dict[str, Any] | None = checkpoint.load(run.checkpoint)
    if state is None:
        return 0, 0.0
    refuse_other_config(state.get("config"), run.config, GOES_ON, run.checkpoint)
    network.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["epoch"], state["duration_s"]
