"""What an evaluation leaves: one CSV row per lesion, one JSON of means, the six figures on screen."""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_csv, write_json
from common.metrics import EXTRA, FIGURES, FRACTIONS, bootstrap_interval, fill_undefined
from common.recipe import Protocol


def write_scores(
    folder: Path,
    stem: str,
    lesions: Sequence[Mapping[str, str]],
    scores: Sequence[Mapping[str, float]],
    protocol: Protocol,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write `<stem>.csv`, a row per lesion, and `<stem>.json`, the means (fractions and px) and 95 % intervals.

    Args:
        folder: of results.
        stem: of the two files.
        lesions: rows of `lesions.csv`.
        scores: each lesion's figures.
        protocol: decides what an empty prediction's distances count as.
        about: what else the JSON says.

    Returns:
        What the JSON holds.
    """
    figures = {name: np.array([lesion[name] for lesion in scores]) for name in (*FIGURES, *EXTRA)}
    figures = fill_undefined(figures, protocol)
    summary = {
        **about,
        **{name: float(np.mean(values)) for name, values in figures.items()},
        **{f"{name}_interval": list(bootstrap_interval(figures[name]))[1:] for name in ("dice", "iou")},
        "lesions": len(scores),
        "versions": {
            "python": sys.version.split()[0],
            **{name: version(name) for name in ("torch", "segmentation-models-pytorch", "numpy", "opencv-python")},
        },
    }
    rows = [_csv_row(lesion, figures) for lesion, figures in zip(lesions, scores, strict=True)]
    write_csv(folder / f"{stem}.csv", rows, ["lesion", "split", *FIGURES, *EXTRA])
    write_json(folder / f"{stem}.json", summary)
    return summary


def _csv_row(lesion: Mapping[str, str], figures: Mapping[str, float]) -> dict[str, Any]:
    # What is undefined stays empty: the reader decides how to fill it.
    return {"lesion": lesion["lesion"], "split": lesion["split"]} | {
        name: "" if np.isnan(value) else repr(value) for name, value in figures.items()
    }


def print_figures(summary: Mapping[str, Any], truth: str) -> None:
    """The six figures as the paper prints them, in per cent and px, and what they were scored against."""
    against = {"truth": "", "folder": f", scored against {truth}"}.get(
        summary["truth"], f", scored against {truth}, not against human masks"
    )
    print(
        f"{summary['dataset']} {summary['label']}, {summary['lesions']} {summary['split']} lesions, "
        f"{summary['settings']['protocol']}{against}"
    )
    for name in FIGURES:
        value, unit = (summary[name] * 100, "%") if name in FRACTIONS else (summary[name], "px")
        interval = summary.get(f"{name}_interval")
        spread = f"   (95 % of resamples: {interval[0] * 100:.2f} to {interval[1] * 100:.2f})" if interval else ""
        published = f"paper {summary['published'][name][0]:.2f}" if summary.get("published") else ""
        print(f"  {name.replace('_', ' '):<16}{value:7.2f} {unit:<2}  {published:<13}{spread}".rstrip())
