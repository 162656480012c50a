"""Training, the same for all methods and datasets: one epoch in one screen, early stopping, history."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.checkpoint import save_checkpoint
from common.cli import Run
from common.dataset import Batch, LesionBatches, Remainder, centre
from common.device import autocast, pick_device, pick_precision
from common.errors import UserError
from common.files import write_csv
from common.losses import lesion_losses, weighted_sum
from common.model import build_network
from common.prepared import Prepared
from common.progress import progress
from common.recipe import Method, Recipe
from common.weights import load_encoder_weights


@dataclass
class EarlyStopping:
    """Watches one figure: which epoch was the best, and for how many there was no improvement."""

    patience: int
    higher_is_better: bool
    best: float | None = None
    waited: int = 0

    def improved(self, value: float) -> bool:
        """Take an epoch's figure; True when it is the best so far. NaN never is."""
        better = not math.isnan(value) and (
            self.best is None or (value > self.best if self.higher_is_better else value < self.best)
        )
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        return better

    @property
    def out_of_patience(self) -> bool:
        """True when training should stop."""
        return self.waited >= self.patience


@dataclass
class Trainer:
    """A network in training, with what each of its steps needs."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    zero_grad: bool
    device: torch.device
    precision: str

    def epoch(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Train on the batches; the mean of each loss over the steps, read from the device once."""
        self.network.train()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        steps = 0
        for batch in batches:
            for groups in training_steps(self.recipe.method, batch):
                for name, loss in self.step(groups).items():
                    sums[name] += loss
                steps += 1
        return {name: total.item() / steps for name, total in sums.items()}

    def step(self, groups: tuple[Batch, ...]) -> dict[str, Tensor]:
        """One step of the optimizer on the sum of the groups' losses.

        Returns:
            The named losses summed over the groups, their weighted "total", and, where gradients are clipped, their
            norm before; detached scalars on the device.
        """
        losses: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        for group in groups:
            with autocast(self.device, self.precision):
                outputs = self.network(group.images)
            for name, loss in lesion_losses(outputs, group.masks, group.clusters).items():
                losses[name] = losses[name] + loss
        total = weighted_sum(losses, self.recipe.loss_weights)
        if self.zero_grad:
            self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        reported = {name: loss.detach() for name, loss in losses.items()} | {"total": total.detach()}
        if self.recipe.method.clip_norm is not None:
            parameters = self.network.parameters()
            reported["gradient_norm"] = nn.utils.clip_grad_norm_(parameters, self.recipe.method.clip_norm)
        self.optimizer.step()
        return reported

    @torch.no_grad()
    def validate(self, lesions: LesionBatches) -> dict[str, float]:
        """Mean losses and Dice over lesions, against the target that is trained on."""
        self.network.eval()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        for batch in lesions.batches(self.recipe.batch_size):
            with autocast(self.device, self.precision):
                outputs = self.network(batch.images)
            for name, loss in lesion_losses(outputs, batch.masks, batch.clusters).items():
                sums[name] += loss * len(batch.rows)
            sums["dice"] += _dice(centre(outputs["mask"]) > 0, centre(batch.masks) > 0).sum()
        return {name: total.item() / len(lesions) for name, total in sums.items()}


def training_steps(method: Method, batch: Batch) -> Iterator[tuple[Batch, ...]]:
    """The groups of images that go into each optimizer step of a batch.

    A paired method is fed (first half, second half), then (second, first); each group passes the network on its own,
    so that batch normalisation sees one half at a time (FACTS.md section 2, ACoseg).
    """
    if not method.paired:
        yield (batch,)
        return
    first, second = batch.halves()
    yield first, second
    yield second, first


def _dice(prediction: Tensor, target: Tensor) -> Tensor:
    both = (prediction & target).sum((1, 2, 3))
    total = prediction.sum((1, 2, 3)) + target.sum((1, 2, 3))
    return 2 * both / total.clamp(min=1)


def train(run: Run) -> None:
    """Train the network of a run; write its checkpoint and, beside it, `<stem>.history.csv`.

    Raises:
        UserError: something asked for is missing or does not fit; the loss is not a number.
    """
    recipe, method = run.recipe, run.recipe.method
    assert run.encoder and run.canvas and run.clusters and run.protocol  # parse_train gives each a default
    prepared = Prepared.open(run.prepared, recipe.dataset, run.protocol, run.clusters if method.cluster_head else None)
    training, validation = prepared.rows("train", run.limit), prepared.rows("val", run.limit)
    _check_batch(recipe, len(training))
    _check_writable(run.checkpoint)
    device = pick_device(run.device)
    precision = pick_precision(run.precision, device)

    torch.manual_seed(run.seed)
    network = build_network(method, run.encoder, run.clusters)
    load_encoder_weights(network, run.encoder, run.encoder_weights)
    network.to(device).to(memory_format=torch.channels_last)
    released = run.protocol == "released"
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr)
    trainer = Trainer(network, optimizer, recipe, not (method.accumulates and released), device, precision)
    lesions = LesionBatches(prepared, training, run.target, run.canvas, device)
    held_out = LesionBatches(prepared, validation, run.target, run.canvas, device)
    print(
        f"{recipe.dataset.name} {method.label}: {len(lesions)} training and {len(held_out)} validation lesions, "
        f"{run.encoder}, {run.canvas[0]}x{run.canvas[1]}, {device.type}, {precision}, {run.protocol}"
    )
    _fit(run, trainer, lesions, held_out)


def _fit(run: Run, trainer: Trainer, lesions: LesionBatches, held_out: LesionBatches) -> None:
    """Epochs until patience or their number runs out."""
    recipe = run.recipe
    watcher = EarlyStopping(recipe.patience, higher_is_better=recipe.watch == "dice")
    shuffler = np.random.default_rng(run.seed)
    remainder: Remainder = "drop" if recipe.method.paired else "join"
    steps = len(lesions) // recipe.batch_size or 1
    history: list[dict[str, Any]] = []
    for epoch in range(1, recipe.epochs + 1):
        start = time.monotonic()
        batches = lesions.batches(recipe.batch_size, shuffler.permutation(len(lesions)), remainder)
        losses = trainer.epoch(progress(batches, f"epoch {epoch}", steps, "batch"))
        seconds = time.monotonic() - start
        figures = trainer.validate(held_out)
        best = watcher.improved(figures[recipe.watch])
        row = {"epoch": epoch} | {f"train_{name}": value for name, value in losses.items()}
        row |= {f"val_{name}": value for name, value in figures.items()}
        row |= {"best": int(best), "seconds": round(seconds, 2), "images_per_second": round(len(lesions) / seconds, 2)}
        history.append(row)
        if best:
            save_checkpoint(run.checkpoint, trainer.network, describe(run, trainer, epoch))
        write_csv(run.checkpoint.with_suffix(".history.csv"), history, list(row))
        _report(row, recipe.watch)
        if watcher.out_of_patience:
            break
    if watcher.best is None:
        raise UserError("training diverged: the validation loss is not a number; pass a smaller --lr")
    if watcher.out_of_patience and recipe.out_of_patience == "last" and run.protocol == "released":
        save_checkpoint(run.checkpoint, trainer.network, describe(run, trainer, epoch))
    print(f"{run.checkpoint}: {recipe.watch} on validation {watcher.best:.4f}, {len(history)} epochs")


def _report(row: dict[str, Any], watch: str) -> None:
    mark = "  best" if row["best"] else ""
    print(
        f"epoch {row['epoch']}: loss {row['train_total']:.4f}, validation {watch} {row[f'val_{watch}']:.4f}, "
        f"Dice {row['val_dice']:.4f}, {row['seconds']:.1f} s ({row['images_per_second']:.2f} images/s){mark}",
        flush=True,
    )


def describe(run: Run, trainer: Trainer, epoch: int) -> dict[str, Any]:
    """What a checkpoint says of its making: plain values only."""
    recipe = run.recipe
    return {
        "dataset": recipe.dataset.name,
        "method": recipe.method.name,
        "clusters": run.clusters,
        "encoder": run.encoder,
        "encoder_weights": run.encoder_weights if run.encoder_weights in ("imagenet", "none") else "file",
        "canvas": list(run.canvas or ()),
        "protocol": run.protocol,
        "target": run.target,
        "loss_weights": dict(recipe.loss_weights),
        "lr": recipe.lr,
        "batch_size": recipe.batch_size,
        "epochs": recipe.epochs,
        "patience": recipe.patience,
        "watch": recipe.watch,
        "seed": run.seed,
        "limit": run.limit,
        "precision": trainer.precision,
        "epoch": epoch,
        "versions": {"python": sys.version.split()[0], "torch": str(torch.__version__)},
    }


def _check_batch(recipe: Recipe, lesions: int) -> None:
    # Batch normalisation of the network's global branch needs two images at a time, in each half of a pair.
    halves = 2 if recipe.method.paired else 1
    if recipe.batch_size < 2 * halves or recipe.batch_size % halves:
        raise UserError(
            f"--batch-size {recipe.batch_size} is too small or odd; {recipe.method.label} needs at least "
            f"{2 * halves} images a step" + (", in two halves" if halves == 2 else "")
        )
    least = recipe.batch_size if recipe.method.paired else 2
    if lesions < least:
        raise UserError(f"training needs at least {least} lesions, and the training split has {lesions}")


def _check_writable(checkpoint: Path) -> None:
    """Said before the first epoch, not after it."""
    if checkpoint.is_dir():
        raise UserError(f"--checkpoint {checkpoint} is a folder; pass the path of a file")
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        probe = checkpoint.with_name(f".{checkpoint.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{checkpoint.parent} can't be written to ({error.strerror}); pass --checkpoint PATH"
        ) from error
