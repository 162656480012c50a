"""Training, the same for all methods and datasets: early stopping, history, interruption."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from common.checkpoint import save_checkpoint
from common.cli import Run
from common.dataset import LesionBatches, Remainder
from common.device import memory_told, pick_device, pick_precision, tune
from common.distributed import Share, processes
from common.errors import Interrupted, UserError
from common.files import write_csv
from common.model import build_network
from common.prepared import Prepared
from common.progress import progress
from common.recipe import Recipe
from common.resume import Standing, StopRequest, load_state, save_state, state_path, stop_requests
from common.trainer import Trainer
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
    with processes(device) as share, memory_told(recipe.batch_size, run.canvas), stop_requests() as stop:
        _check_share(recipe, share)
        trainer = build_trainer(run, device, share)
        lesions = LesionBatches(prepared, training, run.target, run.canvas, device, share, method.paired)
        held_out = LesionBatches(prepared, validation, run.target, run.canvas, device, share)
        print(
            f"{recipe.dataset.name} {method.label}: {len(lesions)} training and {len(held_out)} validation lesions, "
            f"{run.encoder}, {run.canvas[0]}x{run.canvas[1]}, {device.type}, {trainer.precision}, {run.protocol}"
            + (f", {share.size} processes" if share.size > 1 else "")
        )
        _fit(run, trainer, lesions, held_out, stop)


def build_trainer(run: Run, device: torch.device, share: Share) -> Trainer:
    """The network of a run with its optimizer, on the device and shared by the processes."""
    recipe, method = run.recipe, run.recipe.method
    assert run.encoder and run.clusters
    precision = pick_precision(run.precision, device)
    tune(device, precision)
    torch.manual_seed(run.seed)
    network = build_network(method, run.encoder, run.clusters)
    load_encoder_weights(network, run.encoder, run.encoder_weights)
    network.to(device).to(memory_format=torch.channels_last)
    torch.manual_seed(run.seed + share.rank)  # the weights are the same everywhere, dropout is not
    forward = share.spread(network, device)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, fused=True)
    return Trainer(
        network,
        optimizer,
        recipe,
        zero_grad=not (method.accumulates and run.protocol == "released"),
        device=device,
        precision=precision,
        share=share,
        forward=torch.compile(forward) if run.compile else forward,
    )


def _fit(run: Run, trainer: Trainer, lesions: LesionBatches, held_out: LesionBatches, stop: StopRequest) -> None:
    """Epochs until patience or their number runs out, from the beginning or from where a training was interrupted."""
    recipe, checkpoint = run.recipe, run.checkpoint
    settings = describe(run, trainer)
    if run.resume and checkpoint.exists() and not state_path(checkpoint).exists():
        print(f"{checkpoint} is complete; there is nothing to resume")
        return
    share = trainer.share
    standing = load_state(checkpoint, trainer, settings) if run.resume else Standing()
    watcher = EarlyStopping(recipe.patience, recipe.watch == "dice", standing.best, standing.waited)

    def pause(where: str) -> NoReturn:
        save_state(checkpoint, trainer, standing, settings)
        raise Interrupted(f"interrupted {where}; the same command with --resume goes on", stop.signal)

    remainder: Remainder = "drop" if recipe.method.paired else "join"
    while standing.epoch <= recipe.epochs and not watcher.out_of_patience:
        if not standing.batches:
            save_state(checkpoint, trainer, standing, settings)
        # Each epoch's order follows from the seed and its number alone, so that resuming needs no other state.
        order = np.random.default_rng([run.seed, standing.epoch]).permutation(len(lesions))
        total = lesions.count(recipe.batch_size, remainder)
        batches = lesions.batches(recipe.batch_size, order, remainder, skip=standing.batches)
        shown = progress(batches, f"epoch {standing.epoch}", total, "batch") if share.first else batches
        trainer.epoch(shown, standing, lambda: share.any(bool(stop)))
        if standing.batches < total:
            pause(f"in epoch {standing.epoch}")
        row = _close_epoch(standing, trainer.validate(held_out), watcher, recipe, len(lesions))
        if share.first:
            if row["best"]:
                save_checkpoint(checkpoint, trainer.network, settings | {"epoch": row["epoch"]})
            write_csv(checkpoint.with_suffix(".history.csv"), standing.history, list(row))
        _report(row, recipe.watch)
        if share.any(bool(stop)):
            pause(f"after epoch {row['epoch']}")
    if watcher.best is None:
        raise UserError("training diverged: the validation loss is not a number; pass a smaller --lr")
    if share.first:
        if watcher.out_of_patience and recipe.out_of_patience == "last" and run.protocol == "released":
            save_checkpoint(checkpoint, trainer.network, settings | {"epoch": standing.epoch - 1})
        state_path(checkpoint).unlink(missing_ok=True)
    print(f"{checkpoint}: {recipe.watch} on validation {watcher.best:.4f}, {len(standing.history)} epochs")


def _close_epoch(
    standing: Standing, figures: dict[str, float], watcher: EarlyStopping, recipe: Recipe, lesions: int
) -> dict[str, Any]:
    """The row of the history for an epoch that is over; ``standing`` moves on to the next."""
    best = watcher.improved(figures[recipe.watch])
    row: dict[str, Any] = {"epoch": standing.epoch}
    row |= {f"train_{name}": total / standing.steps for name, total in standing.sums.items()}
    row |= {f"val_{name}": value for name, value in figures.items()}
    row |= {"best": int(best), "seconds": round(standing.seconds, 2)}
    row["images_per_second"] = round(lesions / standing.seconds, 2)
    history = [*standing.history, row]
    vars(standing).update(vars(Standing(standing.epoch + 1, best=watcher.best, waited=watcher.waited, history=history)))
    return row


def _report(row: dict[str, Any], watch: str) -> None:
    mark = "  best" if row["best"] else ""
    print(
        f"epoch {row['epoch']}: loss {row['train_total']:.4f}, validation {watch} {row[f'val_{watch}']:.4f}, "
        f"Dice {row['val_dice']:.4f}, {row['seconds']:.1f} s ({row['images_per_second']:.2f} images/s){mark}",
        flush=True,
    )


def describe(run: Run, trainer: Trainer) -> dict[str, Any]:
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
        "processes": trainer.share.size,
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


def _check_share(recipe: Recipe, share: Share) -> None:
    together = recipe.batch_size // (2 if recipe.method.paired else 1)
    if share.size > together:
        raise UserError(
            f"--batch-size {recipe.batch_size} can't be shared by {share.size} processes, each of which needs a "
            f"lesion; start at most {together}, or pass a larger --batch-size"
        )


def _check_writable(checkpoint: Path) -> None:
    """Said before the first epoch, not after it."""
    if checkpoint.is_dir():
        raise UserError(f"--checkpoint {checkpoint} is a folder; pass the path of a file")
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        probe = checkpoint.with_name(f".{checkpoint.name}.probe")
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{checkpoint.parent} can't be written to ({error.strerror}); pass --checkpoint PATH"
        ) from error
