"""Results of an evaluation, written and read: `<stem>.json` holds the means, `<stem>.csv` a row per lesion.

Where `<stem>.csv` is compressed by gzip, it is read as `<stem>.csv.gz`.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.metrics import EXTRA_METRICS, FRACTIONS, METRICS, bootstrap_interval, fill_undefined
from common.recipe import Protocol
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json, write_csv, write_json
from common.utils.provenance import digest, package_versions

if TYPE_CHECKING:
    import pandas as pd

UNDEFINED_NOTE = "nan: undefined, as a distance needs two masks and every predicted one is empty."
_COLUMNS = (*METRICS, *EXTRA_METRICS)
_REQUIRED = {"dataset": str, "label": str, "split": str, "truth": str, "settings": dict, "lesions": int}
_OPTIONAL = ("training", "published", "checkpoint", "versions")  # objects that an evaluation may hold, or null


def result_stem(
    name: str,
    split: str = "test",
    *,
    limit: int | None = None,
    truth: str | None = None,
    noise: float = 0,
    seed: int = 0,
    tta: bool = False,
) -> str:
    """The stem of a result's files: ``name``, and whatever differs from the default evaluation.

    The default is all of the test split, exact marks, no test-time augmentation, and the dataset's own truth, for which
    ``truth`` is None. `NAME.val.limit20.against_masks.noise10s1.tta` has it all; a noise's ``seed`` of 0 is left out.
    """
    moved = f"noise{noise:g}" + (f"s{seed}" if seed else "")
    parts = {
        split: split != "test",
        f"limit{limit}": limit is not None,
        f"against_{truth}": truth is not None,
        moved: noise > 0,
        "tta": tta,
    }
    return ".".join([name, *(part for part, given in parts.items() if given)])


def noise_settings(percent: float, seed: int) -> dict[str, float]:
    """The settings recorded of marks that were moved (`LesionDataset.noisy_ends`); empty for exact ones."""
    return {"prompt_noise": percent, "noise_seed": seed} if percent else {}


def write_results(
    folder: Path,
    stem: str,
    lesions: Sequence[Mapping[str, str]],
    scores: Sequence[Mapping[str, float]],
    protocol: Protocol,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the metrics of each lesion to `<stem>.csv`, and their means with 95 % intervals to `<stem>.json`.

    An undefined metric is an empty cell in the CSV; the means count it as the protocol says (FACTS.md 4.8). The CSV has
    six significant digits, finer than a pixel of a patch can change a metric.

    Args:
        folder: where the two files go.
        stem: their name without the suffix.
        lesions: the rows of `lesions.csv` that were scored.
        scores: the `lesion_metrics` of each.
        protocol: decides what an empty prediction's distances count as.
        about: what else the JSON records.

    Returns:
        The content of the JSON.
    """
    values = fill_undefined({name: np.array([row[name] for row in scores]) for name in _COLUMNS}, protocol)
    names = [lesion["lesion"] for lesion in lesions]
    groups = [lesion["group"] for lesion in lesions]
    summary = {
        **about,
        **{name: float(np.mean(column)) for name, column in values.items()},
        **{
            f"{name}_interval": np.clip(bootstrap_interval(values[name], groups)[1:], 0, 1).tolist()
            for name in ("dice", "iou")
        },
        "lesions": len(scores),
        # Which lesions were scored and, where they are not prepared arrays, against which masks.
        "scored": digest(text.encode() for text in (*names, about.get("truth_masks") or "")),
        "versions": package_versions("torch", "segmentation-models-pytorch", "numpy", "opencv-python"),
    }
    rows = [
        {"lesion": lesion["lesion"], "split": lesion["split"], "group": lesion["group"]}
        | {name: f"{value:.6g}" for name, value in metrics.items() if not np.isnan(value)}
        for lesion, metrics in zip(lesions, scores, strict=True)
    ]
    write_csv(folder / f"{stem}.csv", rows, ["lesion", "split", "group", *_COLUMNS])
    write_json(folder / f"{stem}.json", summary)
    return summary


def print_left_out(count: int, scored: int, truth: str) -> None:
    """Say how many of ``count`` lesions have no outline in ``truth`` to be scored against."""
    if scored < count:
        print(f"{count - scored} of {count} lesions are left out: {truth} has no outline of them")


def print_metrics(summary: Mapping[str, Any], truth: str) -> None:
    """Print the six metrics as the paper does, in per cent and px, and the masks they were scored against."""
    against = "" if summary["truth"] == "truth" else f", scored against {truth}"
    if summary["truth"] not in ("truth", "folder"):
        against += ", not against human masks"
    scored = f"{summary['lesions']} {summary['split']} lesions"
    if noise := summary["settings"].get("prompt_noise"):
        scored += f", marks moved by {noise:g} %"
    if summary["settings"].get("tta"):
        scored += ", test-time augmentation"
    print(f"{summary['dataset']} {summary['label']}, {scored}, {summary['settings']['protocol']}{against}")
    if summary["split"] == "test" and summary.get("seen_in_training"):
        print(f"  {summary['seen_in_training']} of these lesions were seen in training: not a held-out score")
    for name in METRICS:
        value, unit = (summary[name] * 100, "%") if name in FRACTIONS else (summary[name], "px")
        low, high = summary.get(f"{name}_interval", (np.nan, np.nan))
        spread = "" if np.isnan(low) else f"   (95 % interval: {low * 100:.2f} to {high * 100:.2f})"
        published = f"paper {summary['published'][name][0]:.2f}" if summary.get("published") else ""
        print(f"  {name.replace('_', ' '):<16}{value:7.2f} {unit:<2}  {published:<13}{spread}".rstrip())
    if any(np.isnan(summary[name]) for name in METRICS):
        print(f"  {UNDEFINED_NOTE}")


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """The content of an evaluation's JSON with its "path"; None where the file holds something else.

    Raises:
        UserError: the file is damaged.
    """
    content = {name: value for name, value in read_json(path).items() if name not in _OPTIONAL or value is not None}
    described = all(isinstance(content.get(name), kind) for name, kind in _REQUIRED.items())
    scored = all(value is None or _is_number(value) for value in (content.get(name, "") for name in METRICS))
    if not (described and scored):
        return None
    if part := _damaged_part(content):
        raise UserError(f"{path} is damaged: its {part} is not as an eval script writes it; run that again")
    return content | {"path": path}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e9  # false for NaN


def _damaged_part(content: Mapping[str, Any]) -> str | None:
    """The first part of an evaluation that does not have the form which `print_metrics` and the reports rely on."""
    for name in _OPTIONAL:
        if not isinstance(content.get(name, {}), dict):
            return name
    settings = content.get("training", {}) | content["settings"]
    canvas = settings.get("canvas")
    published = content.get("published", {})
    pairs = [published.get(name) for name in METRICS] if published else []
    sound = {
        "seed": isinstance(settings.get("seed"), int | None),
        "encoder": isinstance(settings.get("encoder"), str | None),
        "canvas": canvas is None or (isinstance(canvas, list) and [type(side) for side in canvas] == [int, int]),
        "prompt_noise": _is_number(settings.get("prompt_noise", 0)),
        "noise_seed": isinstance(settings.get("noise_seed", 0), int),
        "prepared": isinstance(content.get("prepared"), str | None),
        "truth_masks": isinstance(content.get("truth_masks"), str | None),
        "scored": isinstance(content.get("scored"), str | None),
        "target": isinstance(settings.get("target"), str | None),
        "checkpoint": all(isinstance(text, str) for text in content.get("checkpoint", {}).values()),
        "published": all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in pairs),
    }
    return next((name for name, is_sound in sound.items() if not is_sound), None)


def read_results(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Read every evaluation in the folders and their subfolders; a damaged file is named on stderr and left out.

    Raises:
        UserError: a folder is missing, or there is no evaluation in any of them.
    """
    evaluations: list[dict[str, Any]] = []
    for folder in folders:
        if not folder.is_dir():
            remedy = f"name its folder, {folder.parent}" if folder.is_file() else "run an eval script first"
            raise UserError(f"{folder} is not a folder of results; {remedy}")
        for path in sorted(folder.rglob("*.json")):
            try:
                evaluations += filter(None, [read_evaluation(path)])
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
    if not evaluations:
        raise UserError("no evaluation results found; run an eval script first, or name its results folder")
    return evaluations


def read_groups(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """The group of each lesion, from the CSV beside an evaluation's JSON, if there is one; see `write_results`."""
    path = _lesion_table(evaluation)
    return {row["lesion"]: row.get("group") or row["lesion"] for row in read_csv(path)} if path else {}


def _lesion_table(evaluation: Mapping[str, Any]) -> Path | None:
    """The CSV beside an evaluation's JSON, plain or compressed by gzip, if there is one."""
    plain = evaluation["path"].with_suffix(".csv")
    return next((path for path in (plain, plain.with_suffix(".csv.gz")) if path.is_file()), None)


def read_lesion_metrics(evaluation: Mapping[str, Any], metric: str) -> "pd.Series":
    """Read a metric by lesion, where it is defined, from the CSV beside an evaluation's JSON, if there is one.

    Raises:
        UserError: the CSV is damaged, or of another evaluation than the JSON.
    """
    import pandas as pd  # slow to import

    path, remedy = _lesion_table(evaluation), "delete it and run the eval script again"
    if path is None:
        return pd.Series(dtype=float, name=metric)
    rows = read_csv(path)
    try:
        values = {row["lesion"]: np.nan if row[metric] == "" else float(row[metric]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    if not len(values) == len(rows) == evaluation["lesions"]:
        count = f"{len(values)} lesions in {len(rows)} rows, not {evaluation['lesions']}"
        raise UserError(f"{path} is damaged: it has {count}; {remedy}")
    if evaluation.get(metric) is not None and "" not in (row[metric] for row in rows):
        mean = float(np.mean(list(values.values())))
        if abs(mean - evaluation[metric]) > 1e-5 * max(1, abs(mean)):  # the CSV has six digits
            raise UserError(
                f"{path} is of another evaluation: its mean {metric} is {mean:.6g}, not "
                f"{evaluation[metric]:.6g}; {remedy}"
            )
    return pd.Series(values, dtype=float, name=metric).dropna()
