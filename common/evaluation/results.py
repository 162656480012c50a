"""Results of an evaluation on disk and on screen: a JSON file of means, a CSV file with a row per lesion."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common.metrics import EXTRA_METRICS, FRACTIONS, METRICS, bootstrap_interval, fill_undefined
from common.recipe import Protocol
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json, write_csv, write_json


def write_results(
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
    figures = {name: np.array([lesion[name] for lesion in scores]) for name in (*METRICS, *EXTRA_METRICS)}
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
    write_csv(folder / f"{stem}.csv", rows, ["lesion", "split", *METRICS, *EXTRA_METRICS])
    write_json(folder / f"{stem}.json", summary)
    return summary


def _csv_row(lesion: Mapping[str, str], figures: Mapping[str, float]) -> dict[str, Any]:
    # What is undefined stays empty: the reader decides how to fill it.
    return {"lesion": lesion["lesion"], "split": lesion["split"]} | {
        name: "" if np.isnan(value) else repr(value) for name, value in figures.items()
    }


def print_metrics(summary: Mapping[str, Any], truth: str) -> None:
    """The six figures as the paper prints them, in per cent and px, and what they were scored against."""
    against = {"truth": "", "folder": f", scored against {truth}"}.get(
        summary["truth"], f", scored against {truth}, not against human masks"
    )
    print(
        f"{summary['dataset']} {summary['label']}, {summary['lesions']} {summary['split']} lesions, "
        f"{summary['settings']['protocol']}{against}"
    )
    for name in METRICS:
        value, unit = (summary[name] * 100, "%") if name in FRACTIONS else (summary[name], "px")
        interval = summary.get(f"{name}_interval")
        spread = f"   (95 % of resamples: {interval[0] * 100:.2f} to {interval[1] * 100:.2f})" if interval else ""
        published = f"paper {summary['published'][name][0]:.2f}" if summary.get("published") else ""
        print(f"  {name.replace('_', ' '):<16}{value:7.2f} {unit:<2}  {published:<13}{spread}".rstrip())


_TYPES = {"dataset": str, "label": str, "split": str, "truth": str, "settings": dict, "lesions": int}
"""What every evaluation tells."""
_OPTIONAL = ("training", "published", "checkpoint", "versions")
"""Objects that it may tell besides, or null."""


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """An evaluation's JSON, with its "path"; None where the file is something else.

    Raises:
        UserError: the file is damaged.
    """
    content = {name: value for name, value in read_json(path).items() if name not in _OPTIONAL or value is not None}
    told = all(isinstance(content.get(name), kind) for name, kind in _TYPES.items())
    scored = all(value is None or _is_number(value) for value in (content.get(name, "") for name in METRICS))
    if not (told and scored):
        return None
    if strange := _strange_part(content):
        raise UserError(f"{path} is damaged: its {strange} is not as an eval script writes it; run that again")
    return content | {"path": path}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e9  # false for NaN


def _strange_part(content: Mapping[str, Any]) -> str | None:
    """The part of an evaluation that is not in the form which the rest of this module and the reports count on."""
    for name in _OPTIONAL:
        if not isinstance(content.get(name, {}), dict):
            return name
    told = content.get("training", {}) | content["settings"]
    published, checkpoint = content.get("published", {}), content.get("checkpoint", {})
    pairs = [published.get(name) for name in METRICS] if published else []
    wrong = {
        "seed": not isinstance(told.get("seed"), int | None),
        "target": not isinstance(told.get("target"), str | None),
        "checkpoint": not all(isinstance(text, str) for text in checkpoint.values()),
        "published": not all(isinstance(it, list) and len(it) == 2 and all(map(_is_number, it)) for it in pairs),
    }
    return next((name for name, it in wrong.items() if it), None)


def read_results(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Every evaluation in the folders and those below; a damaged file is named on stderr and left out.

    Raises:
        UserError: a folder is missing, or no evaluation is in any.
    """
    results = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder of results; run an eval script first")
        for path in sorted(folder.rglob("*.json")):
            try:
                results.append(read_evaluation(path))
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
    found = [result for result in results if result is not None]
    if not found:
        raise UserError("no evaluation results found; run an eval script first, or name its results folder")
    return found


def read_lesion_metrics(result: Mapping[str, Any], figure: str) -> dict[str, float]:
    """A figure by lesion, from the CSV beside an evaluation's JSON; empty where it is not there.

    Raises:
        UserError: the CSV is damaged, or its lesions are not as many as the JSON says.
    """
    path = result["path"].with_suffix(".csv")
    if not path.is_file():
        return {}
    rows, remedy = read_csv(path), "delete it and run the eval script again"
    try:
        values = {row["lesion"]: float(row[figure]) if row[figure] != "" else math.nan for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    if not len(values) == len(rows) == result["lesions"]:
        raise UserError(
            f"{path} is damaged: it has {len(values)} lesions in {len(rows)} rows, not {result['lesions']}; {remedy}"
        )
    return {name: value for name, value in values.items() if not math.isnan(value)}  # an undefined figure is empty
