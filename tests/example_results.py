"""Evaluations as the eval scripts and `python common baselines` write them, for the tests of the reports."""

from pathlib import Path
from typing import Any

from common.metrics import METRICS
from common.utils.files import write_csv

TRAINING = {"encoder_weights": "imagenet", "epochs": 50, "lr": 1e-3, "batch_size": 10, "loss_weights": {"mask": 100.0}}


def result(label: str = "A1", dice: float | None = 0.8, seed: Any = 0, **changes: Any) -> dict[str, Any]:
    """An evaluation's JSON; ``settings`` and ``training`` change what stands in them."""
    settings = {"encoder": "resnet18", "canvas": [128, 128], "protocol": "released", "precision": "fp32"}
    settings |= {"target": "ellipse", "limit": None, "seed": seed, "clusters": 45} | changes.pop("settings", {})
    training = TRAINING | changes.pop("training", {})
    metrics = dict.fromkeys(METRICS, 0.5) | {"dice": dice, "avd": 10.0}
    base = {"dataset": "HAM10000", "label": label, "lesions": 40, "split": "test", "truth": "truth"}
    return base | metrics | {"settings": settings, "training": training} | changes


def baseline(label: str = "ellipse itself", dice: float = 0.9, **changes: Any) -> dict[str, Any]:
    """A baseline's JSON, which has no training and no settings but the protocol."""
    evaluation = result(label, dice, method="ellipse") | {"settings": {"protocol": "released"}} | changes
    del evaluation["training"]
    return evaluation


def scored(folder: Path, name: str, values: tuple[float, ...], evaluation: dict[str, Any]) -> dict[str, Any]:
    """The evaluation as it is read from ``folder``, with Dice and IoU of the lesions a, b, c, ... in its CSV."""
    rows = [{"lesion": lesion, "dice": value, "iou": value} for lesion, value in zip("abcdefgh", values, strict=False)]
    write_csv(folder / f"{name}.csv", rows, ["lesion", "dice", "iou"])
    means = dict.fromkeys(("dice", "iou"), sum(values) / len(rows)) if values else {}
    return evaluation | {"path": folder / f"{name}.json", "lesions": len(rows)} | means
