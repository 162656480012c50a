"""A network in training: its steps, epochs and validation, and how far it has come."""

import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from common.data.loader import Batch, LesionLoader
from common.losses import lesion_losses, weighted_sum
from common.metrics import dice
from common.model import centre_crop
from common.recipe import Method, Recipe
from common.training.device import autocast
from common.training.distributed import SINGLE_PROCESS, World


@dataclass
class TrainState:
    """How far a training has come: everything but the network and the optimizer. Plain values only."""

    epoch: int = 1  # the epoch under way, counted from 1
    batches: int = 0  # batches of it that are done
    steps: int = 0  # optimizer steps in it so far
    sums: dict[str, float] = field(default_factory=dict)  # sums of its losses over these steps
    seconds: float = 0.0  # time it has taken so far
    best: float | None = None  # best value so far of the validation metric that is watched
    epochs_without_improvement: int = 0
    finite: bool = True  # no validation loss of the last epoch was infinite or NaN
    history: list[dict[str, Any]] = field(default_factory=list)  # one row per finished epoch

    def finish_epoch(
        self, validation: dict[str, float], recipe: Recipe, lesions: int, keep_last: bool = False
    ) -> dict[str, Any]:
        """Add the epoch under way to the history and begin the next; early stopping is counted here.

        Args:
            validation: losses and Dice, as `Trainer.validate` returns them.
            recipe: tells which of them is watched. An epoch with a loss that is no number is never an improvement.
            lesions: number of lesions in an epoch, each counted as often as it is seen.
            keep_last: take every epoch for an improvement, whatever validation says.

        Returns:
            The row of the history.
        """
        value, sign = validation[recipe.watch], 1 if recipe.watch == "dice" else -1
        self.finite = all(map(math.isfinite, validation.values()))  # Dice is 0, not NaN, where logits are NaN
        improved = self.finite and (keep_last or self.best is None or sign * value > sign * self.best)
        row: dict[str, Any] = {"epoch": self.epoch}
        row |= {f"train_{name}": total / self.steps for name, total in self.sums.items()}
        row |= {f"val_{name}": mean for name, mean in validation.items()}
        row |= {"best": int(improved), "seconds": round(self.seconds, 2)}
        row["images_per_second"] = round(lesions / self.seconds, 2)
        self.best = value if improved else self.best
        self.epochs_without_improvement = 0 if improved else self.epochs_without_improvement + 1
        self.history.append(row)
        self.epoch, self.batches, self.steps, self.sums, self.seconds = self.epoch + 1, 0, 0, {}, 0.0
        return row


class RunningAverage:
    """A network whose weights and buffers are the exponential moving average (EMA) of another's.

    The decay grows with the number of updates, so that even a short training forgets its beginning: it is 0 in the
    first, n / (n + 9) after n of them, and at most ``decay``. PyTorch's own average has a fixed decay, and counts its
    updates on the GPU, for which every step would have to wait.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """``decay`` is the weight of the past average in an update, once there have been enough of them."""
        self.network = copy.deepcopy(network)
        self._updates, self._decay = 0, decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present weights and buffers."""
        averages, values = ([*chain(one.parameters(), one.buffers())] for one in (self.network, network))
        floating = [average.is_floating_point() for average in averages]
        decay = min(self._decay, self._updates / (self._updates + 9))
        get_ema_multi_avg_fn(decay)([*compress(averages, floating)], [*compress(values, floating)], None)
        for average, value, done in zip(averages, values, floating, strict=True):
            if not done:
                average.copy_(value)
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on."""
        return {"network": self.network.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.network.load_state_dict(state["network"])
        self._updates = state["updates"]


@dataclass
class Trainer:
    """A network in training, with what each of its steps needs."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    zero_grad: bool
    device: torch.device
    precision: str
    world: World = SINGLE_PROCESS
    forward: Callable[[Tensor], dict[str, Tensor]] | None = None
    """The network as it is called, where that is not the network itself: compiled, or distributed over processes."""
    graphed: Callable[[tuple[Batch, ...]], dict[str, Tensor]] | None = None  # takes the place of `optimize`
    average: RunningAverage | None = None
    """The running average, whose network then takes the network's place in validation and checkpoints."""

    @property
    def result(self) -> nn.Module:
        """The network to validate and save: the running average where there is one."""
        return self.network if self.average is None else self.average.network

    def train_epoch(
        self,
        batches: Iterable[Batch],
        state: TrainState,
        stop: Callable[[], bool],
        rate: Callable[[TrainState], float] | None = None,
    ) -> None:
        """Train on batches until they end or ``stop()`` is true; losses are read from the device once, at the end.

        Args:
            batches: those of the epoch that are still to be done.
            state: brought up to date.
            stop: called after every batch.
            rate: gives the learning rate of each batch; None leaves it as it is.
        """
        self.network.train()
        start = time.monotonic()
        sums = {name: torch.tensor(value, device=self.device) for name, value in state.sums.items()}
        for batch in batches:
            if rate is not None:
                self._set_rate(rate(state))
            for groups in step_groups(self.recipe.method, batch):
                for name, loss in self.step(groups).items():
                    sums[name] = sums[name] + loss if name in sums else loss
                state.steps += 1
            state.batches += 1
            if stop():
                break
        state.sums = {name: total / self.world.size for name, total in self.world.all_reduce_sum(sums).items()}
        state.seconds += time.monotonic() - start

    def step(self, groups: tuple[Batch, ...]) -> dict[str, Tensor]:
        """One optimizer step on the sum of the groups' losses.

        Returns:
            The named losses summed over the groups, their weighted "total", and, where gradients are clipped, their
            norm before; detached scalars on the device.
        """
        losses = (self.graphed or self.optimize)(groups)
        if self.average is not None:
            self.average.update(self.network)
        return losses

    def optimize(self, groups: tuple[Batch, ...]) -> dict[str, Tensor]:
        """`step` without the running average: all that a CUDA graph may hold."""
        losses: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        forward = self.network if self.forward is None else self.forward
        for group in groups:
            with autocast(self.device, self.precision):
                outputs = forward(group.images)
            for name, loss in self._losses(outputs, group).items():
                losses[name] = losses[name] + loss * group.weight
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

    def _losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return lesion_losses(outputs, batch.masks, batch.clusters, overlap="overlap" in self.recipe.loss_weights)

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # where a CUDA graph reads it
            else:
                group["lr"] = rate

    @torch.no_grad()
    def validate(self, loader: LesionLoader) -> dict[str, float]:
        """Mean losses and Dice over lesions, against the target that is trained on."""
        network = self.result.eval()
        # Every process needs all names, even one that has no lesion of a small split.
        sums = {name: torch.zeros((), device=self.device) for name in (*self.recipe.loss_weights, "dice")}
        for batch in loader.batches(self.recipe.batch_size):
            if not len(batch.rows):
                continue
            with autocast(self.device, self.precision):
                outputs = network(batch.images)
            for name, loss in self._losses(outputs, batch).items():
                sums[name] += loss * len(batch.rows)
            overlap = dice(centre_crop(outputs["mask"]) > 0, centre_crop(batch.masks) > 0)
            sums["dice"] += overlap.nan_to_num(0).sum()
        return {name: total / len(loader) for name, total in self.world.all_reduce_sum(sums).items()}


def step_groups(method: Method, batch: Batch) -> Iterator[tuple[Batch, ...]]:
    """The groups of images that enter each optimizer step of a batch.

    A paired method is fed (first half, second half), then (second, first); each group passes through the network on
    its own, so that batch normalisation sees one half at a time (FACTS.md section 2, ACoseg).
    """
    if not method.paired:
        yield (batch,)
        return
    first, second = batch.halves()
    yield first, second
    yield second, first
