"""Interrupting and resuming a training: its saved state, and the signals that ask it to stop.

The state is saved after an epoch, at most once a minute and in the background of the next one, and in the middle of an
epoch on Ctrl-C or SIGTERM. It lies beside the checkpoint, as `<stem>.state`. When the training is complete it
is removed or, where more epochs could follow, kept as `<stem>.finished`.
"""

import math
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from torch import Tensor

from common.recipe import Recipe
from common.training.checkpoint import load_checkpoint, save_tensors, to_host
from common.training.config import check_settings, finished_path, history_path, state_path
from common.training.trainer import Trainer, TrainState
from common.training.weights import load_tensors
from common.utils.errors import UserError
from common.utils.files import read_csv

SAVE_EVERY = 60.0  # s, at least, between epochs after which the state is saved
_OF_A_RUN = ("epochs", "patience", "versions", "processes")  # settings in which a complete training may differ
_REMEDY = "pass the same flags and --prepared, or train anew without --resume"
_STATE_KEYS = {"network", "gradients", "optimizer", "average", "random", "progress", "settings"}


class StateSaver:
    """Saves the state of a training; as a context manager it leaves once everything is written."""

    def __init__(self, checkpoint: Path, trainer: Trainer, settings: Mapping[str, Any]) -> None:
        self._checkpoint, self._trainer, self.settings = checkpoint, trainer, dict(settings)
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._saved = -math.inf  # when it was saved last, in s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._wait()
        except OSError:
            if kind is None:  # else the first error takes precedence
                raise
        finally:
            self._thread.shutdown()

    def save_between_epochs(self, state: TrainState) -> None:
        """Save the state unless that was done less than `SAVE_EVERY` ago; the file is written in the background."""
        if self._trainer.world.any(time.monotonic() - self._saved >= SAVE_EVERY):
            self._start(state)

    def save(self, state: TrainState) -> None:
        """Save the state now."""
        self._start(state)
        self._wait()

    def _start(self, state: TrainState) -> None:
        """Copy the state, and begin to write the copy.

        Every process calls this, because each has random numbers of its own; the main one writes.
        """
        self._wait()
        trainer = self._trainer
        random = trainer.world.gather([_random_state(trainer.device)])
        if trainer.world.is_main:
            content = {
                "network": trainer.network.state_dict(),
                # The release never zeroes ACoseg's gradients, so they are part of the state (FACTS.md 4.2).
                "gradients": [None if trainer.zero_grad else weight.grad for weight in trainer.network.parameters()],
                "optimizer": trainer.optimizer.state_dict(),
                "average": None if trainer.average is None else trainer.average.state_dict(),
                "random": random,
                "progress": vars(state),
                "settings": self.settings,
            }
            self._writing = self._thread.submit(self._write, to_host(content))
        self._saved = time.monotonic()

    def _write(self, content: Mapping[str, Any]) -> None:
        """Write a state, atomically: weights, buffers, gradients, optimizer, random numbers, progress and settings."""
        save_tensors(state_path(self._checkpoint), content)
        finished_path(self._checkpoint).unlink(missing_ok=True)

    def _wait(self) -> None:
        """Wait until the file is written; what went wrong there is raised here."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()


def can_resume(checkpoint: Path, recipe: Recipe, wanted: Mapping[str, Any]) -> bool:
    """Whether a training can start or continue; False if it is complete with the epochs and patience of ``recipe``.

    Raises:
        UserError: it is complete, but with other settings than the ``wanted`` ones; or it is not complete or is to have
            more epochs, and no state is left.
    """
    if state_path(checkpoint).exists() or not checkpoint.exists():
        return True
    settings, history = load_checkpoint(checkpoint).settings, history_path(checkpoint)
    if not settings:
        raise UserError(
            f"{checkpoint} doesn't say how it was trained, as released ones don't; pass another --checkpoint, or train "
            "anew without --resume"
        )
    if not settings.get("complete", True):
        raise UserError(
            f"the training of {checkpoint} was not completed, and {state_path(checkpoint).name} is gone; "
            "delete the checkpoint, or train anew without --resume"
        )
    fixed = {name: value for name, value in wanted.items() if name not in _OF_A_RUN}
    check_settings(checkpoint, settings, fixed, _REMEDY)
    epochs, patience = settings.get("epochs", recipe.epochs), settings.get("patience", recipe.patience)
    done = len(read_csv(history)) if history.is_file() else epochs
    falling = settings.get("falling", False)
    more_epochs = recipe.epochs != epochs if falling else recipe.epochs > epochs
    more_patience = done < epochs and recipe.patience > patience
    if not (more_epochs or more_patience):
        return False
    if falling:
        why = f"its learning rate fell to 0 in its {epochs} epochs"
    elif done < epochs:
        why = f"it ran out of patience ({patience} epochs) after epoch {done}"
    elif not finished_path(checkpoint).is_file():
        why = f"{finished_path(checkpoint)} is gone"
    else:
        return True
    raise UserError(f"the training of {checkpoint} can't go on: {why}; train anew, without --resume")


def load_state(checkpoint: Path, trainer: Trainer, settings: Mapping[str, Any]) -> TrainState:
    """Restore network, optimizer and random number generators from the saved state.

    Returns:
        How far the training had come; the beginning where no state was saved.

    Raises:
        UserError: the state is damaged, or was saved by a training with other settings.
    """
    path = state_path(checkpoint)
    if not path.is_file() and checkpoint.is_file():
        path = finished_path(checkpoint)
    if not path.is_file():
        return TrainState()
    content = load_tensors(path)
    known = isinstance(content, dict) and content.keys() >= _STATE_KEYS
    if not known or (content["average"] and not content["average"].keys() >= {"network", "updates"}):
        raise UserError(f"{path} is not the state of a training; delete it and start again without --resume")
    fixed = {name: value for name, value in settings.items() if name != "epochs" or settings["falling"]}
    check_settings(path, content["settings"], fixed, _REMEDY)
    trainer.network.load_state_dict(content["network"])
    for weight, gradient in zip(trainer.network.parameters(), content["gradients"], strict=True):
        weight.grad = None if gradient is None else torch.empty_like(weight).copy_(gradient)
    # These depend on the device; the learning rate is the recipe's, which the settings have just been compared with.
    options = [{name: group[name] for name in ("lr", "capturable")} for group in trainer.optimizer.param_groups]
    trainer.optimizer.load_state_dict(content["optimizer"])
    for group, own in zip(trainer.optimizer.param_groups, options, strict=True):
        group.update(own)
    if trainer.average is not None:
        trainer.average.load_state_dict(content["average"])
    cpu, *gpu = content["random"][trainer.world.rank]
    torch.set_rng_state(cpu)
    if gpu and trainer.device.type != "cpu":
        torch.get_device_module(trainer.device).set_rng_state(gpu[0])
    return TrainState(**content["progress"])


def _random_state(device: torch.device) -> list[Tensor]:
    """The states of the generators that this process draws from: the CPU's and, where it uses one, its GPU's."""
    gpu = [] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state()]
    return [torch.get_rng_state(), *gpu]


class StopRequest:
    """True once Ctrl-C or SIGTERM has asked the training to stop after the step under way."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def handle(self, number: int, _: FrameType | None) -> None:
        """Signal handler. A second Ctrl-C stops at once."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a `StopRequest` while the block runs."""
    request = StopRequest()
    previous = {number: signal.signal(number, request.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
