"""Interrupted training: the state from which it goes on as if nothing had happened, and how it is asked to stop.

The state is saved after every epoch, and in the middle of one when Ctrl-C or SIGTERM asks for it. It lies beside the
checkpoint, as `<stem>.state`, and is removed when the training is complete.
"""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from common.checkpoint import save_tensors
from common.distributed import Share
from common.errors import UserError
from common.weights import load_tensors


@dataclass
class Standing:
    """How far a training has come: everything but the network and the optimizer."""

    epoch: int = 1
    """The epoch under way, counted from 1."""
    batches: int = 0
    """Batches of it that are done."""
    steps: int = 0
    """Steps of the optimizer in it so far."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sums of its losses so far."""
    seconds: float = 0.0
    """Time it has taken so far."""
    best: float | None = None
    waited: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    """The rows of the epochs that are over."""


_CONTENT = {"network", "gradients", "optimizer", "random", "standing", "settings"}


class InTraining(Protocol):
    """What has a state beside its standing; `trainer.Trainer` is one."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    zero_grad: bool
    share: Share


def state_path(checkpoint: Path) -> Path:
    """Where the state of the training that makes ``checkpoint`` lies."""
    return checkpoint.with_suffix(".state")


def save_state(
    checkpoint: Path,
    trained: InTraining,
    standing: Standing,
    settings: Mapping[str, Any],
) -> None:
    """Write the state, atomically: weights, buffers, gradients, optimizer, random numbers, standing and settings.

    Every process calls this, because each has random numbers of its own; the first one writes.
    """
    random = trained.share.gather([_random_state()])
    if not trained.share.first:
        return
    content = {
        "network": trained.network.state_dict(),
        # The release never zeroes ACoseg's gradients, so they are part of the state (FACTS.md 4.2).
        "gradients": [None if trained.zero_grad else weight.grad for weight in trained.network.parameters()],
        "optimizer": trained.optimizer.state_dict(),
        "random": random,
        "standing": vars(standing),
        "settings": dict(settings),
    }
    save_tensors(state_path(checkpoint), content)


def load_state(checkpoint: Path, trained: InTraining, settings: Mapping[str, Any]) -> Standing:
    """Put network, optimizer and random numbers into the saved state.

    Returns:
        How far the training had come; the beginning where no state was saved.

    Raises:
        UserError: the state is damaged, or was saved by a training with other settings.
    """
    path = state_path(checkpoint)
    if not path.is_file():
        return Standing()
    content = load_tensors(path)
    if not isinstance(content, dict) or not content.keys() >= _CONTENT:
        raise UserError(f"{path} is not the state of a training; delete it and start again without --resume")
    for name, value in settings.items():
        if name != "epochs" and content["settings"].get(name) != value:
            raise UserError(
                f"{path} was saved with {name} {content['settings'].get(name)}, not {value}; "
                "pass the same flags, or train anew without --resume"
            )
    trained.network.load_state_dict(content["network"])
    for weight, gradient in zip(trained.network.parameters(), content["gradients"], strict=True):
        weight.grad = None if gradient is None else torch.empty_like(weight).copy_(gradient)
    trained.optimizer.load_state_dict(content["optimizer"])
    cpu, *cuda = content["random"][trained.share.rank]
    torch.set_rng_state(cpu)
    if cuda and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(cuda[0])
    return Standing(**content["standing"])


def _random_state() -> list[Tensor]:
    """The states of the generators that this process draws from: the CPU's and, where it uses one, its GPU's."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])]


class StopRequest:
    """Becomes true when Ctrl-C or SIGTERM asks the training to stop after the step under way."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def take(self, number: int, _: FrameType | None) -> None:
        """Signal handler. A second Ctrl-C stops at once."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listen for Ctrl-C and SIGTERM while the block runs."""
    request = StopRequest()
    previous = {number: signal.signal(number, request.take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
