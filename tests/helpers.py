"""What several test modules use."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.evaluation.evaluate import evaluate
from common.model import build_network
from common.recipe import Method, Recipe
from common.run.cli import parse_eval, parse_train
from common.training.train import train
from common.utils.files import read_json

ROOT = Path(__file__).resolve().parents[1]
"""The project's folder."""
NETWORK = "--encoder tu-tf_mobilenetv3_small_minimal_100 --encoder-weights none --canvas 128x128 --clusters 4"
"""A step takes a third of ResNet-18's time."""
SMALL = f"{NETWORK} --epochs 1 --limit 8 --batch-size 8".split()
"""A training of seconds."""


def golden_masks(shared: Path, dataset: str, name: str) -> np.ndarray:
    """A bit-packed stack of (N, 120, 120) masks from a golden file."""
    with np.load(shared / "golden" / f"{dataset}.npz") as golden:
        return np.unpackbits(golden[name])[: len(golden["names"]) * 120 * 120].reshape(-1, 120, 120)


def formula_network(method: Method, shared: Path) -> torch.nn.Module:
    """ResNet-18 with the golden files' weights, K=20, dropout 0."""
    spec = importlib.util.spec_from_file_location("formula_init", shared / "golden" / "formula_init.py")
    formula = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formula)
    network = build_network(method, "resnet18", 20)
    aliases = ("deeplab_encoder.", "deeplab_decoder.", "deeplab_seghead.")
    state = {k.removeprefix("deeplab_model."): v for k, v in network.state_dict().items() if not k.startswith(aliases)}
    formula.formula_init(state)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    return network


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair in two (N, H, W) stacks of masks."""
    first, second = first > 0, second > 0
    return (first & second).sum((1, 2)) / (first | second).sum((1, 2))


def train_and_score(recipe: Recipe, data: Path, folder: Path, *flags: str) -> dict[str, Any]:
    """Train a small network for one epoch and score it on validation lesions; the evaluation's JSON.

    Args:
        recipe: of the script.
        data: data folder, prepared with K=4.
        folder: where checkpoint and results go.
        flags: more flags for the evaluation.
    """
    where = ["--data", str(data), "--checkpoint", str(folder / "a.pt"), "--results", str(folder)]
    train(parse_train(recipe, None, [*where, *SMALL]))
    evaluate(parse_eval(recipe, None, [*where, "--split", "val", "--limit", "8", *flags]))
    (path,) = folder.glob("a.val.limit8*.json")
    return read_json(path)
