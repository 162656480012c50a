"""What a dataset declares about itself, the methods, and the fields of a recipe."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Protocol = Literal["released", "corrected"]
PROTOCOLS: tuple[Protocol, ...] = ("released", "corrected")
ENCODER = "resnet101"  # the published encoder (FACTS.md section 1).
TARGETS = ("ellipse", "quarters", "grabcut", "truth")
"""Masks that a network can be trained on or scored against, by the name of their array."""


def default_target(protocol: str | None, method: "Method | None" = None) -> str:
    """The default training mask of a method, or of the paper's methods if none is given."""
    of_protocol = "quarters" if protocol == "corrected" else "ellipse"
    return method.flags.get("target", of_protocol) if method else of_protocol


@dataclass(frozen=True)
class DatasetInfo:
    """What `common/` needs to know about a dataset; everything else is in the dataset's own folder."""

    name: str  # as results and messages call it
    folder: Path  # the dataset's code folder; checkpoints and results lie in it by default
    data: str  # name of the default data folder inside ``folder``
    prepare: tuple[str, ...]  # file name of the script that makes ``prepared/``, and the arguments to call it with
    clusters: int  # K, the number of shape clusters of the A1+L method
    truth: str  # the prepared array that predictions are scored against: "truth", or what stands in for it
    read_truth: Callable[[Path, list[dict[str, str]], np.ndarray], dict[int, np.ndarray]] | None = None
    """Given a folder of human masks, rows of `lesions.csv` and their (N, 120, 120) ellipses, returns (120, 120) 0/1
    masks by row; None where masks are part of the dataset."""
    splits: tuple[int, int, int] | None = None  # published split sizes; None if no other split can be made
    channels: str = "bgr"  # of the released patches: "bgr" (RGB under `corrected`), or "slices" (previous, key, next)

    @property
    def prepare_command(self) -> str:
        """The command that makes ``prepared/``, as typed in the project's root."""
        return f"python {self.folder.name}/{' '.join(self.prepare)}"


@dataclass(frozen=True)
class Method:
    """One of the paper's three methods (FACTS.md section 1), or what is built on them."""

    name: str  # as in the script names and the checkpoint's recipe
    label: str  # as in the paper's table
    cluster_head: bool = False  # an auxiliary head predicts the lesion's shape cluster
    paired: bool = False  # a batch is cut into two halves that are fed as (first, second), then as (second, first)
    clip_norm: float | None = None  # gradients are clipped to this norm before every step
    accumulates: bool = False  # the release never zeroes its gradients (FACTS.md 4.2; mended under `corrected`).
    least_steps: int = 0  # small training sets get more epochs to reach this, unless --epochs is given
    flags: Mapping[str, Any] = field(
        default_factory=dict, hash=False
    )  # defaults of training flags that differ from `PLAIN`


A1 = Method("A1", "A1")
A1CLASS = Method("A1class", "A1+L", cluster_head=True)
ACOSEG = Method("Acoseg", "ACoseg", paired=True, clip_norm=0.05, accumulates=True)
A1RECIST = Method(
    "A1recist",
    "A1+R",
    least_steps=800,
    flags={"prompt": "recist", "target": "quarters", "flips": True, "jitter": 10.0, "average": 0.99, "falling": True},
)
"""Not in the paper: A1 that sees the mark of the lesion it segments (trials: code_ham/README.md)."""
METHODS = {method.name: method for method in (A1, A1CLASS, ACOSEG, A1RECIST)}
PLAIN: dict[str, Any] = {
    "prompt": "none", "outlines": None, "flips": False, "jitter": 0.0, "average": 0.0, "falling": False
}  # fmt: skip
"""The training options that the paper does not have, switched off."""
PROMPTS = ("none", "recist")
"""What a network is shown beside the image: nothing, or the lesion's own RECIST mark (`model.CanvasTransform`)."""


@dataclass(frozen=True)
class Recipe:
    """A method on a dataset (FACTS.md, 2 and 5). No field has a default: forgetting one would change the experiment."""

    dataset: DatasetInfo
    method: Method
    checkpoint: str  # the published checkpoint's file name
    released: str | None  # its address at Google Drive; None for data the paper does not have
    loss_weights: Mapping[str, float]  # weight of each loss of `losses.lesion_losses`
    lr: float  # Adam's learning rate
    batch_size: int
    epochs: int  # at most this many; see `epochs_of`
    patience: int  # epochs without improvement after which training stops
    watch: Literal["mask", "dice"]
    """Watched on validation, against --target: the mask loss (lower is better) or Dice (higher is better)."""
    out_of_patience: Literal["best", "last"]
    """The weights kept when patience runs out under `released`; always the best under `corrected`."""
    scored_multiple: int
    """Under `released`, the number of scored lesions is cut to a multiple of this (FACTS.md 4.4); 1 means all."""
    published: tuple[tuple[float, float], ...]
    """The paper's (mean, spread) of `metrics.METRICS` on the test split: per cent and px (FACTS.md section 5); empty
    for data the paper does not have."""

    def epochs_of(self, steps: int, *, outlines: bool = False) -> int:
        """The maximum number of epochs, at ``steps`` steps each, unless --epochs is given.

        Where it follows from the steps, one on ``outlines`` comes on top.
        """
        if not self.method.least_steps:
            return self.epochs
        return max(self.epochs, math.ceil(self.method.least_steps / steps)) + outlines

    def checkpoint_name(self, clusters: int) -> str:
        """The published file name, ending in K if K is not the published one: checkpoint_190.pt, checkpoint_3.pt."""
        stem, published = self.checkpoint.removesuffix(".pt"), self.dataset.clusters
        if not self.method.cluster_head or clusters == published:
            return self.checkpoint
        return f"{stem.removesuffix(f'_{published}')}_{clusters}.pt"
