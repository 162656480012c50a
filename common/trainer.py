"""One network's steps: an epoch of training, a round of validation."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.dataset import Batch, LesionBatches, centre
from common.device import autocast
from common.distributed import WHOLE, Share
from common.losses import lesion_losses, weighted_sum
from common.recipe import Method, Recipe
from common.resume import Standing


@dataclass
class Trainer:
    """A network in training, with what each of its steps needs."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    zero_grad: bool
    device: torch.device
    precision: str
    share: Share = WHOLE
    """Which of the processes that train together this is."""
    forward: Callable[[Tensor], dict[str, Tensor]] | None = None
    """The network as it is called, when that is not the network itself: compiled, or shared by processes."""

    def epoch(self, batches: Iterable[Batch], standing: Standing, stop: Callable[[], bool]) -> None:
        """Train on the batches until they end or ``stop`` says so; losses are read from the device once, at the end.

        Args:
            batches: those of the epoch that are still to be done.
            standing: how far the epoch has come; brought up to date.
            stop: asked after every batch.
        """
        self.network.train()
        start = time.monotonic()
        sums = {name: torch.tensor(value, device=self.device) for name, value in standing.sums.items()}
        for batch in batches:
            for groups in training_steps(self.recipe.method, batch):
                for name, loss in self.step(groups).items():
                    sums[name] = sums[name] + loss if name in sums else loss
                standing.steps += 1
            standing.batches += 1
            if stop():
                break
        standing.sums = {name: total / self.share.size for name, total in self.share.sums(sums).items()}
        standing.seconds += time.monotonic() - start

    def step(self, groups: tuple[Batch, ...]) -> dict[str, Tensor]:
        """One step of the optimizer on the sum of the groups' losses.

        Returns:
            The named losses summed over the groups, their weighted "total", and, where gradients are clipped, their
            norm before; detached scalars on the device.
        """
        losses: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        forward = self.network if self.forward is None else self.forward
        for group in groups:
            with autocast(self.device, self.precision):
                outputs = forward(group.images)
            for name, loss in lesion_losses(outputs, group.masks, group.clusters).items():
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

    @torch.no_grad()
    def validate(self, lesions: LesionBatches) -> dict[str, float]:
        """Mean losses and Dice over lesions, against the target that is trained on."""
        self.network.eval()
        # Every process needs all names, even one that has no lesion of a small split.
        sums = {name: torch.zeros((), device=self.device) for name in (*self.recipe.loss_weights, "dice")}
        for batch in lesions.batches(self.recipe.batch_size):
            if not len(batch.rows):
                continue
            with autocast(self.device, self.precision):
                outputs = self.network(batch.images)
            for name, loss in lesion_losses(outputs, batch.masks, batch.clusters).items():
                sums[name] += loss * len(batch.rows)
            sums["dice"] += _dice(centre(outputs["mask"]) > 0, centre(batch.masks) > 0).sum()
        return {name: total / len(lesions) for name, total in self.share.sums(sums).items()}


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
