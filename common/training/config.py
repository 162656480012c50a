"""Configurations of training and evaluation, flags of all scripts that run a network, a checkpoint's other files."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from common.patches import CANVAS, parse_canvas
from common.recipe import ENCODER, PLAIN, PROTOCOLS, Protocol, Recipe
from common.utils.arguments import device_name
from common.utils.errors import UserError
from common.utils.provenance import sha256

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


def add_network_flags(parser: argparse.ArgumentParser, default: str = "", corrected: str = "") -> None:
    """Add the flags of all scripts that run a network.

    In their help, ``default`` precedes defaults that a checkpoint may replace, and ``corrected`` follows the canvas.
    """
    add = parser.add_argument
    size = f"{CANVAS[0]}x{CANVAS[1]}{corrected}"
    add("--encoder", metavar="NAME", help=f"default {default}{ENCODER}")
    add("--canvas", type=parse_canvas, metavar="HxW", help=f"px that the network sees (default {default}{size})")
    add("--protocol", choices=PROTOCOLS, help=f"default {default}released")
    add("--device", type=device_name, default="auto", metavar="auto|cpu|cuda|cuda:N|mps", help="auto: a GPU, if any")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the hardware has it")


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
    outlines: int | None  # lesions whose true outlines a last epoch is on, alone; None means no such epoch
    flips: bool  # mirror and transpose training lesions at random
    jitter: float  # per cent of the long diameter by which training moves the end points of a prompt
    average: float  # largest decay of the weights' exponential moving average, which is saved; 0 saves the weights
    falling: bool  # linear warm-up, then a cosine schedule of the learning rate that ends at 0
    seed: int
    resume: bool
    compile: bool  # run ``torch.compile`` on the network first.
    graph: bool  # on a single GPU, run the training step as a CUDA graph

    def describe(self) -> dict[str, Any]:
        """What a checkpoint records of its training, as plain values: all that changes the result."""
        recipe, method = self.recipe, self.recipe.method
        own = ("clusters", "encoder", "protocol", "target", *PLAIN, "seed", "limit")
        of_recipe = ("lr", "batch_size", "epochs", "patience", "watch")
        return {
            "dataset": recipe.dataset.name,
            "method": method.name,
            "encoder_weights": _describe_weights(self.encoder_weights),
            "canvas": list(self.canvas),
            "loss_weights": dict(recipe.loss_weights),
            **{name: getattr(self, name) for name in own},
            **{name: getattr(recipe, name) for name in of_recipe},
            **({"least_steps": method.least_steps} if method.least_steps and not self.epochs else {}),
        }


_ANY_FILE = "file"  # encoder weights in checkpoints of earlier versions, or from a file that is gone


@cache
def _describe_weights(weights: str) -> str:
    """Encoder weights as a checkpoint records them: a file by what is in it, not by its name."""
    if weights in ("imagenet", "none"):
        return weights
    return f"{_ANY_FILE} {sha256(Path(weights))[:8]}" if Path(weights).is_file() else _ANY_FILE


def check_settings(path: Path, recorded: Mapping[str, Any], settings: Mapping[str, Any], remedy: str) -> None:
    """Check that a training ``recorded`` in ``path`` had these ``settings``; what it does not record counts as equal.

    Raises:
        UserError: names the first setting that differs, and the ``remedy``.
    """
    known = {**PLAIN, **recorded}
    weights = [str(values.get("encoder_weights")) for values in (known, settings)]
    if _ANY_FILE in weights and all(text.startswith(_ANY_FILE) for text in weights):
        del known["encoder_weights"]
    for name, value in settings.items():
        if (own := known.get(name, value)) != value:
            difference = f"with {name} {own}, not {value}"
            if name in ("prepared", "preprocessing", "groups"):
                difference = "from other lesions or masks than those prepared now"
            raise UserError(f"{path} was made {difference}; {remedy}")


@dataclass(frozen=True)
class EvalConfig(RunConfig):
    """One evaluation. A network's setting that is ``None`` is the checkpoint's own, else as published."""

    results: Path  # the folder that metrics are written to
    encoder: str | None
    canvas: tuple[int, int] | None
    clusters: int | None
    protocol: Protocol | None
    split: Literal["train", "val", "test", "all"]
    truth: str  # what predictions are scored against: one of `TARGETS`, or a folder of human masks
    download: bool  # fetch the released checkpoint first
    prompt_noise: float  # per cent of the long diameter by which a prompted network's marks are moved
    seed: int  # of that noise
    tta: bool  # average the logits over the mirrored and transposed patches too
    allow_seen: bool  # score lesions that the network was trained on as test data, and say so
    export: Literal["onnx"] | None  # write the checkpoint in this format and score nothing
