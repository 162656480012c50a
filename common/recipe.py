"""What a dataset declares about itself, the methods, a recipe's fields, and the configuration of a run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.utils.provenance import sha256

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
    """What `common/` must know of a dataset; everything else stands in the dataset's own folder."""

    name: str  # as results and messages call it
    folder: Path  # the dataset's code folder; checkpoints and results lie in it by default
    data: str  # name of the default data folder inside ``folder``
    prepare_script: str  # file name of the script that makes ``prepared/``, named in messages
    clusters: int  # K, the number of shape clusters of the A1+L method
    truth: str  # the prepared array that predictions are scored against: "truth", or what stands in for it
    read_truth: Callable[[Path, list[dict[str, str]], np.ndarray], dict[int, np.ndarray]] | None = None
    """Reads human masks from a folder, for rows of `lesions.csv` and their (N, 120, 120) ellipses, as (120, 120) 0/1 by
    row; None where masks are part of the dataset."""
    splits: tuple[int, int, int] | None = None  # published numbers of lesions, where other splits can be made
    channels: str = "bgr"  # of the released patches: "bgr" (RGB under `corrected`), or "slices" (previous, key, next)

    @property
    def prepare_command(self) -> str:
        """The command that makes ``prepared/``, as typed in the project's root."""
        return f"python {self.folder.name}/{self.prepare_script}"


@dataclass(frozen=True)
class Method:
    """One of the paper's three methods (FACTS.md section 1), or what is built on them."""

    name: str  # as in the script names and the checkpoint's recipe
    label: str  # as in the paper's table
    cluster_head: bool = False  # an auxiliary head predicts the lesion's shape cluster
    paired: bool = False  # a batch is cut into two halves that are fed as (first, second), then as (second, first)
    clip_norm: float | None = None  # gradients are clipped to this norm before every step
    accumulates: bool = False  # the release never zeroes its gradients (FACTS.md 4.2; mended under `corrected`).
    least_steps: int = 0  # of a training, whose epochs become more where lesions are few, unless --epochs is given
    flags: Mapping[str, Any] = field(default_factory=dict, hash=False)  # training flags with defaults of its own


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
    """One row of FACTS.md section 2. No field has a default: forgetting one would change the experiment."""

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
    """Watched on validation against the ellipse: the mask loss (lower is better) or Dice (higher is better)."""
    out_of_patience: Literal["best", "last"]
    """The weights kept when patience runs out under `released`; always the best under `corrected`."""
    scored_multiple: int
    """Under `released` only this many lesions, or a multiple, are scored (FACTS.md 4.4); 1 means all."""
    published: tuple[tuple[float, float], ...]
    """The paper's (mean, spread) of `metrics.METRICS` on the test split: per cent and px (FACTS.md section 5); empty
    for data the paper does not have."""

    def epochs_of(self, steps: int) -> int:
        """The maximum number of epochs, at ``steps`` steps each, unless --epochs is given."""
        return max(self.epochs, math.ceil(self.method.least_steps / steps))

    def checkpoint_name(self, clusters: int) -> str:
        """The published file name; for another K than published, with that K: checkpoint_190.pt, checkpoint_3.pt."""
        stem, published = self.checkpoint.removesuffix(".pt"), self.dataset.clusters
        if not self.method.cluster_head or clusters == published:
            return self.checkpoint
        return f"{stem.removesuffix(f'_{published}')}_{clusters}.pt"


HISTORY = ".history.csv"  # what takes the place of a checkpoint's suffix in the name of its training's history


def history_path(checkpoint: Path) -> Path:
    """The history of the training that makes ``checkpoint``: a CSV file with a row per epoch."""
    return checkpoint.with_suffix(HISTORY)


def state_path(checkpoint: Path) -> Path:
    """The state from which the training that makes ``checkpoint`` resumes; it exists until the training is complete."""
    return checkpoint.with_suffix(".state")


def finished_path(checkpoint: Path) -> Path:
    """The state in which a training has done all its epochs, from which it goes on to more of them."""
    return checkpoint.with_suffix(".finished")


@dataclass(frozen=True)
class RunConfig:
    """What training and evaluation share: a recipe with the command line's changes, and where and how it runs."""

    recipe: Recipe
    prepared: Path  # the folder of prepared arrays
    checkpoint: Path
    device: str  # "auto", or as PyTorch calls it: "cpu", "cuda", "cuda:1", "mps"
    precision: Literal["auto", "fp32", "bf16"]
    limit: int | None  # only the first lesions of each split; None means all


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """One training."""

    epochs: int | None  # of the flag; None means as the recipe says for the steps of an epoch
    encoder: str  # a name of segmentation-models-pytorch
    encoder_weights: str  # what the encoder starts from: "imagenet", "none" or the path of a state dict
    canvas: tuple[int, int]  # (rows, columns) in px that the network sees
    clusters: int  # K
    protocol: Protocol
    target: str  # the mask that is trained on, one of `TARGETS`
    prompt: str  # one of `PROMPTS`
    outlines: int | None  # training lesions whose true outline is the target; None means none
    flips: bool  # mirror and transpose training lesions at random
    jitter: float  # per cent of the long diameter by which training moves the end points of a prompt
    average: float  # largest decay of the exponential moving average of weights that is kept; 0 keeps the weights
    falling: bool  # linear warm-up, then a cosine schedule of the learning rate that ends at 0
    seed: int
    resume: bool
    compile: bool  # run ``torch.compile`` on the network first.
    graph: bool  # on a single GPU, run the training step as a CUDA graph

    def describe(self) -> dict[str, Any]:
        """What a checkpoint records of its training, as plain values: all that changes the result."""
        recipe = self.recipe
        return {
            "dataset": recipe.dataset.name,
            "method": recipe.method.name,
            "clusters": self.clusters,
            "encoder": self.encoder,
            "encoder_weights": _describe_weights(self.encoder_weights),
            "canvas": list(self.canvas),
            "protocol": self.protocol,
            "target": self.target,
            **{name: getattr(self, name) for name in PLAIN},
            "loss_weights": dict(recipe.loss_weights),
            "lr": recipe.lr,
            "batch_size": recipe.batch_size,
            "epochs": recipe.epochs,
            **({"least_steps": recipe.method.least_steps} if recipe.method.least_steps and not self.epochs else {}),
            "patience": recipe.patience,
            "watch": recipe.watch,
            "seed": self.seed,
            "limit": self.limit,
        }


_ANY_FILE = "file"  # encoder weights in checkpoints of earlier versions, or from a file that is gone


@cache
def _describe_weights(weights: str) -> str:
    """Encoder weights as a checkpoint records them: a file by what is in it, not by its name."""
    if weights in ("imagenet", "none"):
        return weights
    return f"{_ANY_FILE} {sha256(Path(weights))[:8]}" if Path(weights).is_file() else _ANY_FILE


def differing_setting(recorded: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The first of ``settings`` in which a recorded training is another, and the value recorded.

    What the record does not say counts as the same.
    """
    known = {**PLAIN, **recorded}
    weights = [str(values.get("encoder_weights")) for values in (known, settings)]
    if _ANY_FILE in weights and all(text.startswith(_ANY_FILE) for text in weights):
        del known["encoder_weights"]
    return next(((name, known[name]) for name, value in settings.items() if known.get(name, value) != value), None)


@dataclass(frozen=True)
class EvalConfig(RunConfig):
    """One evaluation. ``None`` means: as the checkpoint's own settings say, else as published."""

    results: Path  # the folder that metrics are written to
    encoder: str | None
    canvas: tuple[int, int] | None
    clusters: int | None
    protocol: Protocol | None
    split: Literal["train", "val", "test", "all"]
    truth: str  # what predictions are scored against: one of `TARGETS`, or a folder of human masks
    download: bool  # fetch the released checkpoint first
    prompt_noise: float  # per cent of the long diameter by which the marks are moved that a network with prompt sees
    seed: int  # of that noise
    tta: bool  # average the logits over the mirrored and transposed patches too
    allow_seen: bool  # score lesions that the network was trained on as test data, and say so
    export: Literal["onnx"] | None  # write the checkpoint in this format and score nothing
