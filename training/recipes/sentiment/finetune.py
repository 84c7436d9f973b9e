"""Stage 2: the pre-trained LSTM becomes a classifier of whole reviews.

Where we differ from ULMFiT (Howard & Ruder 2018): all layers train at once, the last epochs can add adversarial
training (Miyato et al. 2017), and besides the reviews an epoch holds short spans cut from them and sentences of
`phrases.py`, so that four words get a calibrated answer too.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from training.kit import checkpoint
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.sentiment import pretrain
from training.recipes.sentiment.batches import groups, pad
from training.recipes.sentiment.config import Config, FinetuneConfig
from training.recipes.sentiment.data import Split, load_split, load_tokenizer
from training.recipes.sentiment.losses import adversarial_shift
from training.recipes.sentiment.model import Classifier, LanguageModel, Reader
from training.recipes.sentiment.phrases import phrases
from training.recipes.sentiment.tokenizer import UNKNOWN_ID

FILE = "classifier.pt"
BEST = "best.pt"


def main(run: Run[Config], fabric: Fabric) -> None:
    """Write `classifier.pt`, and `best.pt` at the epoch with the least validation loss; go on from there, also to more epochs."""
    config = run.config.finetune
    saved = checkpoint.load(run.directory / FILE) or {}
    train, validation = load_split(run, "train"), load_split(run, "validation")
    sentences = Phrases.read(run)
    torch.manual_seed(run.config.seed)
    module = build(run)
    module, optimizer = fabric.setup(module, torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), fused=True))
    if saved:
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
    epochs = [Epoch.draw(train, sentences, config, (run.config.seed, epoch)) for epoch in range(math.ceil(config.epochs))]
    plan = [(epoch, group) for epoch in epochs for group in epoch.groups][: round(config.epochs * len(epochs[0].groups))]
    first = saved.get("batch", 0)
    if first >= len(plan):
        return
    adversarial_from = len(plan) - round(config.adversarial_epochs * len(epochs[0].groups))
    meter = torch.tensor(saved.get("meter", [0.0, 0.0, 0.0]))  # loss, batches, seconds of this epoch
    log = RunLog(run.directory / "finetune", resume_epoch=saved.get("epoch", 0), quiet=not fabric.is_global_zero)
    progress = tqdm(total=len(plan), initial=first, unit="batch", disable=not fabric.is_global_zero, mininterval=30)
    rows = slice(fabric.global_rank, None, fabric.world_size)

    for number in range(first, len(plan)):
        epoch, group = plan[number]
        started = time.perf_counter()
        torch.manual_seed(run.config.seed * 1_000_003 + number)
        for parameters in optimizer.param_groups:
            parameters["lr"] = config.learning_rate * pretrain.schedule(number / len(plan))
        input_ids, lengths = pad([epoch.sequences[index] for index in group[rows]])
        input_ids, lengths = drop_words(input_ids, lengths, config.word_dropout).to(fabric.device), lengths.to(fabric.device)
        targets = torch.from_numpy(epoch.targets[group[rows]]).to(fabric.device)  # (B,)
        shift = torch.zeros(*input_ids.shape, run.config.net.embedding, device=fabric.device, requires_grad=True)  # (B, T, E)
        loss = F.binary_cross_entropy_with_logits(module(input_ids, lengths, shift), targets)
        fabric.backward(loss)
        if number >= adversarial_from:
            shift = adversarial_shift(shift.grad, module.reader.embedding(input_ids).detach(), config.adversarial_norm)
            fabric.backward(F.binary_cross_entropy_with_logits(module(input_ids, lengths, shift), targets))
        fabric.clip_gradients(module, optimizer, max_norm=config.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        meter += torch.tensor([loss.item(), 1.0, time.perf_counter() - started])
        progress.update()
        last_of_epoch = number + 1 == len(plan) or plan[number + 1][0] is not epoch
        done = {"batch": number + 1, "epoch": epochs.index(epoch) + last_of_epoch}
        if last_of_epoch:
            total, batches, seconds = fabric.all_reduce(meter, reduce_op="mean").tolist()
            scores = evaluate(module, validation)
            if fabric.is_global_zero and all(scores["validation_loss"] < row["validation_loss"] for row in log.rows()):
                checkpoint.save(run.directory / BEST, {"module": module.state_dict(), "epoch": done["epoch"]})
            log.write(done["epoch"] - 1, loss=total / batches, seconds=seconds, **scores)
            meter = torch.zeros(3)
        if last_of_epoch or (number + 1) % config.save_every == 0:
            pretrain.save(run, fabric, FILE, module=module, optimizer=optimizer, meter=meter.tolist(), **done)


def build(run: Run[Config]) -> Classifier:
    """A classifier that starts from the language model, if there is one, and from its verdict at the last word."""
    state = checkpoint.load(run.directory / pretrain.FILE)
    vocabulary = load_tokenizer(run).get_vocab_size()
    language_model = LanguageModel(Reader(run.config.net, vocabulary), run.config.pretrain)
    if state is not None:
        language_model.load_state_dict(state["module"])
    return Classifier(language_model.reader, language_model.verdict, run.config.finetune)


@dataclass(frozen=True)
class Phrases:
    """The sentences of `phrases.py` as ids."""

    sequences: list[NDArray[np.int64]]
    targets: NDArray[np.float32]  # P(positive)
    weights: NDArray[np.float64]  # how often each is drawn: every kind alike

    @staticmethod
    def read(run: Run[Config]) -> Phrases:
        tokenizer, sequences, targets, weights = load_tokenizer(run), [], [], []
        for sentences in phrases().values():
            said = [sentence + mark for sentence in sentences for mark in ("", ".")]
            sequences += [np.asarray(encoding.ids, dtype=np.int64) for encoding in tokenizer.encode_batch(said, add_special_tokens=False)]
            targets += [target for target in sentences.values() for _ in range(2)]
            weights += [1 / len(said)] * len(said)
        return Phrases(sequences, np.array(targets, dtype=np.float32), np.array(weights) / sum(weights))


@dataclass(frozen=True, eq=False)
class Epoch:
    """What one epoch reads: every review, short spans of some, some phrases."""

    sequences: list[NDArray[np.int64]]
    targets: NDArray[np.float32]  # P(positive)
    groups: list[NDArray[np.int64]]

    @staticmethod
    def draw(reviews: Split, sentences: Phrases, config: FinetuneConfig, seed: tuple[int, int]) -> Epoch:
        draw = np.random.default_rng((*seed, 1))
        sequences = [reviews[index] for index in range(len(reviews))]
        cut = draw.choice(len(reviews), round(config.spans_per_review * len(reviews)), replace=True)
        spans = [_span(sequences[index], draw, config.longest_span) for index in cut]
        said = draw.choice(len(sentences.sequences), config.phrases, p=sentences.weights)
        targets = [reviews.labels.astype(np.float32), reviews.labels[cut].astype(np.float32), sentences.targets[said]]
        sequences = [*sequences, *spans, *(sentences.sequences[index] for index in said)]
        lengths = np.array([len(sequence) for sequence in sequences])
        return Epoch(sequences, np.concatenate(targets), groups(lengths, config.batch_size, seed))


def drop_words(input_ids: Tensor, lengths: Tensor, probability: float) -> Tensor:
    """Some words become `<unk>`, but none of a text under 16 words, where one word can be the verdict."""
    dropped = (torch.rand(input_ids.shape) < probability) & (lengths >= 16)[:, None]  # (B, T)
    return input_ids.masked_fill(dropped & (input_ids != 0), UNKNOWN_ID)


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


def _span(sequence: NDArray[np.int64], draw: np.random.Generator, longest: int) -> NDArray[np.int64]:
    """Half of the spans end where the review ends: there the verdict stands."""
    size = min(int(draw.integers(4, longest + 1)), len(sequence))
    start = len(sequence) - size if draw.random() < 0.5 else int(draw.integers(0, len(sequence) - size + 1))
    return sequence[start : start + size]
