"""Stage 2: the pre-trained LSTM becomes a classifier of whole reviews.

Where we differ from ULMFiT (Howard & Ruder 2018): all layers train at once, the last epochs can add adversarial
training (Miyato et al. 2017), and besides the reviews an epoch holds short spans cut from them and sentences of
`phrases.py`, so that four words get a calibrated answer too.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from training.kit import checkpoint
from training.kit.config import ConfigError
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.sentiment import pretrain
from training.recipes.sentiment.batches import pad
from training.recipes.sentiment.config import Config, FinetuneConfig
from training.recipes.sentiment.data import Split, load_split, load_tokenizer
from training.recipes.sentiment.epochs import Batch, Epoch, Phrases
from training.recipes.sentiment.losses import adversarial_shift
from training.recipes.sentiment.model import Classifier, LanguageModel, Reader

FILE = "classifier.pt"
BEST = "best.pt"


def main(run: Run[Config], fabric: Fabric) -> None:
    """Write `classifier.pt`, and `best.pt` at the epoch with the least validation loss; go on from there, also to more epochs."""
    config = run.config.finetune
    saved = pretrain.load(run, FILE, "classifier")
    epochs = draw_epochs(run)
    plan = [(epoch, group) for epoch in epochs for group in epoch.groups][: round(config.epochs * len(epochs[0].groups))]
    if not plan:
        texts = f"{len(epochs[0].sequences):,} texts"
        raise ConfigError(f"finetune.epochs={config.epochs} with finetune.batch_size={config.batch_size} make no batch of {texts}")
    first = saved.get("batch", 0)
    if first >= len(plan):
        return
    adversarial_from = len(plan) - round(config.adversarial_epochs * len(epochs[0].groups))
    module, optimizer = start(run, fabric, saved.get("module"), saved.get("optimizer"))
    meter = torch.tensor(saved.get("meter", [0.0, 0.0, 0.0]))  # loss, batches, seconds of this epoch
    log = RunLog(run.directory / "finetune", run.recipe, resume_epoch=saved.get("epoch", 0), quiet=not fabric.is_global_zero)
    progress = tqdm(total=len(plan), initial=first, unit="batch", disable=not fabric.is_global_zero, mininterval=30)
    rows = slice(fabric.global_rank, None, fabric.world_size)

    for number in range(first, len(plan)):
        epoch, group = plan[number]
        started = time.perf_counter()
        pretrain.seed_step(run.config.seed, number, fabric.global_rank)
        pretrain.set_learning_rate(optimizer, config.learning_rate * pretrain.schedule(number / len(plan)))
        batch = epoch.batch(group[rows], config.word_dropout)
        loss = step(fabric, module, optimizer, batch, config, adversarial=number >= adversarial_from)
        meter += torch.tensor([loss, 1.0, time.perf_counter() - started])
        progress.update()
        last_of_epoch = number + 1 == len(plan) or plan[number + 1][0] is not epoch
        done = {"batch": number + 1, "epoch": epochs.index(epoch) + last_of_epoch}
        if last_of_epoch:
            report(run, fabric, module, meter, log, done["epoch"])
            meter = torch.zeros(3)
        if last_of_epoch or (number + 1) % config.save_every == 0:
            pretrain.save(run, fabric, FILE, module=module, optimizer=optimizer, meter=meter.tolist(), **done)


def draw_epochs(run: Run[Config]) -> list[Epoch]:
    train, sentences = load_split(run, "train"), Phrases.read(run)
    return [
        Epoch.draw(train, sentences, run.config.finetune, (run.config.seed, epoch))
        for epoch in range(math.ceil(run.config.finetune.epochs))
    ]


def start(run: Run[Config], fabric: Fabric, weights: dict[str, Tensor] | None, moments: dict[str, Any] | None = None) -> tuple[Any, Any]:
    """The classifier and its optimizer, from the language model's end or from saved weights.

    The embeddings move less than the rest: a rare word would otherwise learn the labels of the few reviews that hold it by heart.
    """
    torch.manual_seed(run.config.seed)
    module = build(run)
    embeddings, others = [module.reader.embedding.weight], [*module.reader.lstm.parameters(), *module.head.parameters()]
    parameters = [{"params": embeddings, "rate": run.config.finetune.embedding_rate}, {"params": others, "rate": 1.0}]
    module, optimizer = fabric.setup(module, torch.optim.Adam(parameters, betas=(0.9, 0.98), fused=True))
    if weights is not None:
        module.load_state_dict(weights)
    if moments is not None:
        optimizer.load_state_dict(moments)
    return module, optimizer


def build(run: Run[Config]) -> Classifier:
    """A classifier that starts from the language model, if there is one, and from its verdict at the last word."""
    state = checkpoint.load(run.directory / pretrain.FILE)
    vocabulary = load_tokenizer(run).get_vocab_size()
    language_model = LanguageModel(Reader(run.config.net, vocabulary), run.config.pretrain)
    if state is not None:
        language_model.load_state_dict(state["module"])
    return Classifier(language_model.reader, language_model.verdict, run.config.finetune)


def step(fabric: Fabric, module: Any, optimizer: Any, batch: Batch, config: FinetuneConfig, adversarial: bool = False) -> float:
    """One step of the optimizer; the batch's loss in nats, before any adversarial shift."""
    input_ids, lengths, targets = (tensor.to(fabric.device) for tensor in batch)
    shift = torch.zeros(*input_ids.shape, module.reader.embedding.embedding_dim, device=fabric.device, requires_grad=True)  # (B, T, E)
    loss = F.binary_cross_entropy_with_logits(module(input_ids, lengths, shift), targets)
    fabric.backward(loss)
    if adversarial:
        assert shift.grad is not None
        shift = adversarial_shift(shift.grad, module.reader.embedding(input_ids).detach(), config.adversarial_norm)
        fabric.backward(F.binary_cross_entropy_with_logits(module(input_ids, lengths, shift), targets))
    fabric.clip_gradients(module, optimizer, max_norm=config.max_gradient_norm)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def report(run: Run[Config], fabric: Fabric, module: Any, meter: Tensor, log: RunLog, epoch: int) -> None:
    """Log an epoch that is over, and keep its weights if no epoch before had a lower validation loss."""
    total, batches, seconds = fabric.all_reduce(meter, reduce_op="mean").tolist()
    scores = evaluate(module, load_split(run, "validation"))
    if fabric.is_global_zero and all(scores["validation_loss"] < row["validation_loss"] for row in log.rows()):
        checkpoint.save(run.directory / BEST, {"module": module.state_dict(), "epoch": epoch})
    log.write(epoch - 1, loss=total / batches, seconds=seconds, **scores)


@torch.no_grad()
def evaluate(module: Any, split: Split, batch_size: int = 32) -> dict[str, float]:
    """Accuracy and mean loss, in nats, on whole reviews."""
    logits = predict(module, split, batch_size)
    labels = torch.from_numpy(split.labels)
    loss = F.binary_cross_entropy_with_logits(logits, labels.float()).item()
    accuracy = ((logits > 0) == (labels == 1)).float().mean().item()
    return {"validation_loss": loss, "validation_accuracy": accuracy}


@torch.no_grad()
def predict(module: Any, split: Split, batch_size: int = 32) -> Tensor:
    """The deep part's logit of every review, (n,)."""
    module.eval()
    device = module.reader.embedding.weight.device
    logits = torch.empty(len(split))
    order = np.argsort(split.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        input_ids, lengths = pad([split[index] for index in batch])
        logits[torch.from_numpy(batch)] = module(input_ids.to(device), lengths.to(device)).cpu()
    module.train()
    return logits
