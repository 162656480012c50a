"""Training, the same for all methods and datasets: epochs, early stopping, history, interruption."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from common.data.augment import Augmentation
from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader, Remainder
from common.model import build_network, check_encoder
from common.recipe import Method, Recipe
from common.training.checkpoint import load_checkpoint, save_checkpoint, save_tensors
from common.training.config import TrainConfig, finished_path, history_path, state_path
from common.training.device import explain_out_of_memory, pick_device, pick_precision, set_math_flags
from common.training.distributed import World, process_group
from common.training.graph import GraphedStep
from common.training.resume import StateSaver, StopRequest, can_resume, catch_stop_signals, load_state
from common.training.trainer import RunningAverage, Trainer, TrainState
from common.training.weights import load_encoder_weights
from common.utils.errors import Interrupted, UserError
from common.utils.files import check_writable, write_csv
from common.utils.progress import progress
from common.utils.provenance import package_versions

OUTLINE_PASSES = 25  # over the outlines, in the epoch that has them alone
OUTLINE_JITTER = 0.3  # of the jitter is left in it: outlines do not reward copying the mark, which jitter prevents
Forward = Callable[[Tensor], dict[str, Tensor]]


class Phase(NamedTuple):
    """Epochs of a training that have the same lesions and masks, and over which a falling learning rate falls once."""

    epochs: range
    loader: LesionLoader
    jitter: float  # of the end points, as a share of the long diameter


def train(config: TrainConfig) -> None:
    """Train a network; write its checkpoint and, beside it, `<stem>.history.csv`.

    Raises:
        UserError: something asked for is missing or does not fit; the loss is not a number.
        Interrupted: by Ctrl-C or SIGTERM, once the state is saved.
    """
    recipe, method = config.recipe, config.recipe.method
    check_encoder(config.encoder, config.canvas)
    clusters = config.clusters if method.cluster_head else None
    dataset = LesionDataset.open_for(config.prepared, recipe.dataset, config.protocol, clusters)
    train_rows, val_rows = dataset.rows("train", config.limit), dataset.rows("val", config.limit)
    outlined = None
    if config.outlines:
        outlined = dataset.choose_rows(dataset.outlined_rows(train_rows), config.outlines, config.seed)
    elif config.target == "truth":
        train_rows, val_rows = (dataset.outlined_rows(rows) for rows in (train_rows, val_rows))
    _check_batch_size(recipe, len(train_rows))
    if config.checkpoint.is_dir():
        raise UserError(f"--checkpoint {config.checkpoint} is a folder; pass the path of a file")
    check_writable(config.checkpoint.parent, "pass another --checkpoint")
    device = pick_device(config.device)
    with (
        process_group(device) as world,
        explain_out_of_memory(recipe.batch_size, config.canvas),
        catch_stop_signals() as stop,
    ):
        _check_world_size(config, world, len(train_rows))
        shared: dict[str, Any] = {"rank": world.rank, "world_size": world.size, "prompt": config.prompt == "recist"}
        loader = LesionLoader(dataset, train_rows, config.target, config.canvas, device, **shared, paired=method.paired)
        val_loader = LesionLoader(dataset, val_rows, config.target, config.canvas, device, **shared)
        for name in loader.names:
            dataset.array(name)  # whether it is there is said before anything is written
        if config.epochs is None:
            steps = loader.batch_count(recipe.batch_size, _remainder(method))
            epochs = recipe.epochs_of(steps, outlines=outlined is not None)
            config = replace(config, recipe=replace(recipe, epochs=epochs))
        trainer = build_trainer(config, device, world)
        print(
            f"{recipe.dataset.name} {method.label}: {len(train_rows)} training and {len(val_rows)} validation lesions, "
            f"{config.encoder}, {config.canvas[0]}x{config.canvas[1]}, {device.type}, {trainer.precision}, "
            f"{config.protocol}, target {config.target}"
            + ("" if outlined is None else f", {len(outlined)} outlines")
            + (f", {world.size} processes" if world.size > 1 else "")
        )
        _fit(config, trainer, _phases(config, loader, outlined), val_loader, stop)


def _phases(config: TrainConfig, loader: LesionLoader, outlined: np.ndarray | None) -> list[Phase]:
    """All epochs on a loader's lesions and masks; with ``outlined`` rows all but the last, which has those outlines.

    Many outlines are passed over fewer times than a few, for no more samples than in all other epochs; very few more
    often, to fill a batch.
    """
    epochs, jitter = config.recipe.epochs, config.jitter / 100
    if outlined is None:
        return [Phase(range(1, epochs + 1), loader, jitter)]
    samples = max(OUTLINE_PASSES * len(outlined), config.recipe.batch_size)
    samples = min(samples, (epochs - 1) * len(loader))
    outlines = replace(loader, rows=outlined, target="truth", samples=samples)
    return [
        Phase(range(1, epochs), loader, jitter),
        Phase(range(epochs, epochs + 1), outlines, jitter * OUTLINE_JITTER),
    ]


def build_trainer(config: TrainConfig, device: torch.device, world: World) -> Trainer:
    """The network of a training with its optimizer, on the device and distributed over the processes."""
    recipe, method = config.recipe, config.recipe.method
    precision = pick_precision(config.precision, device)
    set_math_flags(device, precision)
    torch.manual_seed(config.seed)
    network = build_network(method, config.encoder, config.clusters, config.canvas, config.prompt == "recist")
    load_encoder_weights(network, config.encoder, config.encoder_weights)
    network.to(device).to(memory_format=torch.channels_last)
    torch.manual_seed(config.seed + world.rank)  # weights are the same in all processes, dropout is not
    forward = world.distribute(network, device)
    size = recipe.batch_size // (2 if method.paired else 1)  # images that pass through the network at once
    graphed = config.graph and device.type == "cuda" and world.size == 1
    trainer = Trainer(
        network,
        torch.optim.Adam(network.parameters(), lr=recipe.lr, fused=True, capturable=graphed),
        recipe,
        zero_grad=not (method.accumulates and config.protocol == "released"),
        device=device,
        precision=precision,
        world=world,
        forward=_compile(forward, len(range(world.rank, size, world.size))) if config.compile else forward,
        average=RunningAverage(network, config.average) if config.average else None,
    )
    if graphed:
        for group in trainer.optimizer.param_groups if config.falling else ():
            group["lr"] = torch.tensor(group["lr"], device=device)
        trainer.graphed = GraphedStep(trainer.optimize, recipe.batch_size)
    return trainer


def _compile(forward: Forward, size: int) -> Forward:
    """A network compiled for ``size`` images at once; other batches, one an epoch, pass through it as it is."""
    compiled = torch.compile(forward, dynamic=False)
    return lambda images: (compiled if len(images) == size else forward)(images)


def falling_rate(lr: float, epochs: range, batches: int) -> Callable[[TrainState], float]:
    """The learning rate of each step of some epochs: half a cosine from ``lr`` to 0, times a linear warm-up.

    The warm-up takes 100 steps, or a quarter of a short training.
    """
    total = len(epochs) * batches
    warm_up = max(1, min(100, total // 4))

    def rate(state: TrainState) -> float:
        step = (state.epoch - epochs.start) * batches + state.batches
        return lr * min(1, (step + 1) / warm_up) * (1 + math.cos(math.pi * step / total)) / 2

    return rate


def describe_training(
    config: TrainConfig, trainer: Trainer, phases: Sequence[Phase], val_loader: LesionLoader
) -> dict[str, Any]:
    """The settings that a checkpoint carries, with the lesions it was trained and validated on: plain values only."""
    dataset = val_loader.dataset
    return config.describe() | {
        "precision": trainer.precision,
        "processes": trainer.world.size,
        "versions": package_versions("torch"),
        "prepared": dataset.identity,
        "preprocessing": dataset.metadata["preprocessing"],
        "groups": {"train": dataset.groups(phases[0].loader.rows), "val": dataset.groups(val_loader.rows)},
    }


def _fit(
    config: TrainConfig, trainer: Trainer, phases: Sequence[Phase], val_loader: LesionLoader, stop: StopRequest
) -> None:
    """Train, from the beginning or from a saved state, until the epochs or the patience run out."""
    recipe, checkpoint, world = config.recipe, config.checkpoint, trainer.world
    settings = describe_training(config, trainer, phases, val_loader)
    no_matter = {"precision": config.precision == "auto", "clusters": not recipe.method.cluster_head}
    wanted = {name: value for name, value in settings.items() if not no_matter.get(name)}
    if config.resume and not can_resume(checkpoint, recipe, wanted):
        print(f"{checkpoint} is complete; there is nothing to resume")
        return
    state = load_state(checkpoint, trainer, settings) if config.resume else TrainState()
    if (done := len(state.history)) > recipe.epochs:
        raise UserError(f"{state_path(checkpoint)} has {done} epochs behind it; pass --epochs {done} or more")
    with StateSaver(checkpoint, trainer, settings) as saver:
        _run_epochs(config, trainer, phases, val_loader, state, saver, stop)
        out_of_patience = state.epochs_without_improvement >= recipe.patience
        keeps_last = out_of_patience and recipe.out_of_patience == "last" and config.protocol == "released"
        if not state.finite:
            kept = "nothing is kept" if state.best is None else f"{checkpoint} holds an earlier epoch"
            why = f"training diverged: the validation loss of epoch {state.epoch - 1} is not a number, and {kept}"
            if state.best is None or keeps_last or config.falling:
                raise UserError(f"{why}; pass a smaller --lr")
            print(why)
        resumable = not (out_of_patience or config.falling)  # a rate that has fallen to 0 leaves nothing to go on with
        if resumable:
            saver.save(state)
    if world.is_main:
        if keeps_last:
            save_checkpoint(checkpoint, trainer.result, settings | {"epoch": state.epoch - 1})
        else:
            _mark_complete(checkpoint, recipe.epochs)
        if resumable:
            state_path(checkpoint).replace(finished_path(checkpoint))
        else:
            state_path(checkpoint).unlink(missing_ok=True)
    watched = {"mask": "mask loss", "dice": "Dice"}[recipe.watch]
    value = state.history[-1][f"val_{recipe.watch}"] if keeps_last else state.best
    kept = " (the last one's weights, as published)" if keeps_last else ""
    print(f"{checkpoint}: {watched} on validation {value:.4f}, {len(state.history)} epochs{kept}")


def _run_epochs(
    config: TrainConfig,
    trainer: Trainer,
    phases: Sequence[Phase],
    val_loader: LesionLoader,
    state: TrainState,
    saver: StateSaver,
    stop: StopRequest,
) -> None:
    """Train and validate, and keep the best weights and the history; raise Interrupted where a signal asks to stop."""
    recipe, checkpoint, world = config.recipe, config.checkpoint, trainer.world

    def interrupt(where: str) -> NoReturn:
        saver.save(state)
        raise Interrupted(f"interrupted {where}; the same command with --resume goes on", stop.signal)

    while state.epoch <= recipe.epochs and state.epochs_without_improvement < recipe.patience:
        if state.batches == 0:
            saver.save_between_epochs(state)
        phase = next(phase for phase in phases if state.epoch in phase.epochs)
        if not _train_epoch(config, trainer, phase, state, stop):
            interrupt(f"in epoch {state.epoch}")
        lesions = len(phase.loader.positions())
        lesions -= lesions % recipe.batch_size if recipe.method.paired else 0  # the last batch is dropped
        row = state.finish_epoch(trainer.validate(val_loader), recipe, lesions, keep_last=config.falling)
        if world.is_main:
            if row["best"]:
                save_checkpoint(checkpoint, trainer.result, saver.settings | {"epoch": row["epoch"], "complete": False})
            write_csv(history_path(checkpoint), state.history, list(row))
        _print_epoch(row, config)
        if world.any(bool(stop)):
            interrupt(f"after epoch {row['epoch']}")


def _mark_complete(checkpoint: Path, epochs: int) -> None:
    """Record that a checkpoint's training is complete, and its epochs: its weights may predate their extension."""
    best = load_checkpoint(checkpoint)
    settings = {name: value for name, value in best.settings.items() if name != "complete"} | {"epochs": epochs}
    if settings != best.settings:
        save_tensors(checkpoint, {"model_dict": best.state, "recipe": settings})


def _train_epoch(config: TrainConfig, trainer: Trainer, phase: Phase, state: TrainState, stop: StopRequest) -> bool:
    """Train the rest of the epoch under way; False where it was stopped before its end."""
    world, batch_size, loader = trainer.world, config.recipe.batch_size, phase.loader
    remainder = _remainder(config.recipe.method)
    # An epoch's order follows from the seed and its number alone, so that resuming needs no other state.
    order = np.random.default_rng([config.seed, state.epoch]).permutation(loader.positions())
    total = loader.batch_count(batch_size, remainder)
    varied = config.flips or phase.jitter
    augmentation = Augmentation(config.seed, state.epoch, config.flips, phase.jitter) if varied else None
    batches = loader.batches(batch_size, order, remainder, state.batches, augmentation)
    if world.is_main:
        batches = progress(batches, f"epoch {state.epoch}", total - state.batches, "batch")
    rate = falling_rate(config.recipe.lr, phase.epochs, total) if config.falling else None
    trainer.train_epoch(batches, state, lambda: world.any(bool(stop)), rate)
    return state.batches == total


def _remainder(method: Method) -> Remainder:
    return "drop" if method.paired else "merge"


def _print_epoch(row: dict[str, Any], config: TrainConfig) -> None:
    best = ("  kept" if config.falling else "  best") if row["best"] else ""
    mask = "" if config.recipe.watch == "dice" else f"mask loss {row['val_mask']:.4f}, "
    print(
        f"epoch {row['epoch']}: loss {row['train_total']:.4f}, validation {mask}Dice {row['val_dice']:.4f}, "
        f"{row['seconds']:.1f} s ({row['images_per_second']:.2f} images/s){best}",
        flush=True,
    )


def _check_batch_size(recipe: Recipe, lesions: int) -> None:
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


def _check_world_size(config: TrainConfig, world: World, lesions: int) -> None:
    recipe = config.recipe
    if config.compile and world.size > 1:
        raise UserError("--compile works in one process only; leave it out, or start the script without torchrun")
    if world.size > lesions:
        raise UserError(f"{world.size} processes can't share {lesions} training lesions; start at most {lesions}")
    most = recipe.batch_size // (2 if recipe.method.paired else 1)
    if world.size > most:
        raise UserError(
            f"--batch-size {recipe.batch_size} can't be divided among {world.size} processes, each of which needs a "
            f"lesion; start at most {most}, or pass a larger --batch-size"
        )
