"""Score a checkpoint on lesions of a prepared folder."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.evaluation.results import (
    noise_settings,
    print_left_out,
    print_metrics,
    read_evaluation,
    result_stem,
    write_results,
)
from common.inference.predictor import Predictor
from common.metrics import METRICS, lesion_metrics
from common.recipe import TARGETS, Protocol
from common.training.checkpoint import load_model_for
from common.training.config import EvalConfig
from common.training.device import pick_device
from common.training.distributed import SINGLE_PROCESS, World, process_group
from common.utils.errors import UserError
from common.utils.files import check_writable
from common.utils.progress import progress
from common.utils.provenance import digest, sha256


def evaluate(config: EvalConfig) -> None:
    """Score a checkpoint; print the six metrics, write `<stem>.json` and `<stem>.csv` into the results folder.

    For the stem see `result_stem`.

    Raises:
        UserError: something asked for is missing or does not fit.
    """
    device = pick_device(config.device)
    with process_group(device) as world:
        _evaluate(config, device, world)


def _evaluate(config: EvalConfig, device: torch.device, world: World) -> None:
    info, method = config.recipe.dataset, config.recipe.method
    dataset = LesionDataset.open_for(config.prepared, info, clusters=config.clusters if method.cluster_head else None)
    model = load_model_for(config)
    dataset.check(info, model.protocol)
    check_preprocessing(dataset, config.checkpoint, model.settings)
    if config.prompt_noise and not model.prompted:
        raise UserError(f"{config.checkpoint} sees no marks that --prompt-noise could move; leave it out")
    candidates = rows_to_score(dataset, config, model.protocol)
    rows, truth = read_truth(dataset, config, candidates)
    print_left_out(len(candidates), len(rows), "truth.npy" if config.truth == "truth" else config.truth)
    seen = seen_in_training(dataset, config, model.settings, rows)
    if world.is_main and seen is None and info.splits not in (None, tuple(dataset.metadata["splits"].values())):
        print(
            f"warning: {config.checkpoint} doesn't say which lesions it was trained on, and the splits of "
            f"{config.prepared} are not the published ones: it may have seen some of these",
            file=sys.stderr,
        )
    check_writable(config.results, "pass another --results")
    predictor = Predictor(model, device, config.precision, config.tta)
    start = time.monotonic()
    ends = dataset.noisy_ends(config.prompt_noise, config.seed) if config.prompt_noise else None
    shared: dict[str, Any] = {"rank": world.rank, "world_size": world.size, "prompt": model.prompted, "ends": ends}
    loader = LesionLoader(dataset, rows, "ellipse", model.canvas, device, **shared)
    scored = world.gather(score(predictor, loader, truth, config.recipe.batch_size, world))
    if not world.is_main:
        return
    metrics = [values for _, values in sorted(scored, key=lambda row_and_values: row_and_values[0])]
    seconds = time.monotonic() - start
    about = describe_evaluation(config, predictor, dataset) | {
        "seen_in_training": seen,
        "truth_masks": digest(truth[row].tobytes() for row in sorted(truth)) if isinstance(truth, dict) else None,
        "seconds": round(seconds, 3),
        "images_per_second": round(len(rows) / seconds, 2),
    }
    stem = _result_stem(config)
    lesions = [dataset.lesions[row] for row in rows]
    _tell_replaced(config.results / f"{stem}.json", about)
    summary = write_results(config.results, stem, lesions, metrics, model.protocol, about)
    print_metrics(summary, config.truth)
    print(f"{config.results / stem}.json and .csv written ({len(rows) / seconds:.2f} images/s)")


def _tell_replaced(path: Path, about: Mapping[str, Any]) -> None:
    """Say that a result of another checkpoint, or of other lesions, is lost."""
    try:
        old = read_evaluation(path) if path.is_file() else None
    except UserError:
        return
    if old and any(old.get(name) != about[name] for name in ("checkpoint", "prepared")):
        print(f"{path} was the result of another checkpoint or of other lesions, and is replaced")


def _result_stem(config: EvalConfig) -> str:
    """The stem of the result's files, which tells a truth other than the dataset's by its array or folder."""
    truth: str | None = config.truth
    if config.truth not in TARGETS:
        truth = "_".join(Path(config.truth).resolve().parts[-2:])
    elif config.truth == config.recipe.dataset.truth:
        truth = None
    stem, noise, seed = config.checkpoint.name.removesuffix(".pt"), config.prompt_noise, config.seed
    return result_stem(stem, config.split, limit=config.limit, truth=truth, noise=noise, seed=seed, tta=config.tta)


def rows_to_score(dataset: LesionDataset, config: EvalConfig, protocol: Protocol) -> np.ndarray:
    """The lesions to score; under `released`, their number is rounded down to the recipe's multiple (FACTS.md 4.4).

    Raises:
        UserError: none are left.
    """
    rows = dataset.rows(config.split, config.limit)
    multiple = config.recipe.scored_multiple
    if protocol == "corrected" or len(rows) % multiple == 0:
        return rows
    # The release drops the last lesions of its own test list, which is not always sorted by name.
    published = sorted(rows, key=lambda row: int(dataset.lesions[row].get("order") or row))
    kept = np.array(sorted(published[: len(rows) - len(rows) % multiple]))
    if not len(kept):
        raise UserError(
            f"the released protocol scores a multiple of {multiple} lesions, and the split {config.split} has "
            f"{len(rows)}; pass --protocol corrected"
        )
    print(f"the released protocol leaves out the last {len(rows) - len(kept)} of {len(rows)} lesions")
    return kept


def check_preprocessing(dataset: LesionDataset, checkpoint: Path, settings: Mapping[str, Any]) -> None:
    """Refuse lesions that were preprocessed differently from those that the network was trained on.

    Raises:
        UserError: names the setting that differs.
    """
    own = dataset.metadata["preprocessing"]
    # A checkpoint without settings is a released one, or another trainer's whose protocol a flag tells.
    expected = settings.get("preprocessing", {"channels": own["channels"]})
    for name in {**expected, **own}:
        if (prepared := own.get(name)) != (value := expected.get(name)):
            raise UserError(
                f"{checkpoint} was trained with {name} {value}, but {dataset.folder} was made with {prepared}; "
                "prepare the data as for the training, into another --prepared"
            )


def seen_rows(dataset: LesionDataset, settings: Mapping[str, Any], rows: np.ndarray) -> list[int] | None:
    """Those of ``rows`` that a network was trained or validated on; None where its ``settings`` don't say."""
    if "groups" not in settings:
        return None
    known = {group for groups in settings["groups"].values() for group in groups}
    # A lesion of unknown patient formed a group of its own name; its patient may have become known since then.
    names = [(lesion["group"], lesion["lesion"]) for lesion in dataset.lesions]
    return [row for row in rows if not known.isdisjoint(names[row])]


def seen_in_training(
    dataset: LesionDataset, config: EvalConfig, settings: Mapping[str, Any], rows: np.ndarray
) -> int | None:
    """How many of the lesions the network was trained or validated on; None where its checkpoint doesn't say.

    Raises:
        UserError: some of these are in the test split, and --allow-seen is not given.
    """
    seen = seen_rows(dataset, settings, rows)
    if seen is None:
        return None
    as_test = [row for row in seen if dataset.lesions[row]["split"] == "test"]
    if as_test and not config.allow_seen:
        raise UserError(
            f"{len(as_test)} of {len(rows)} test lesions, like {dataset.lesions[as_test[0]]['lesion']}, were seen in "
            f"the training of {config.checkpoint}: the split has changed since; train anew, or pass --allow-seen"
        )
    return len(seen)


def read_truth(
    dataset: LesionDataset, config: EvalConfig, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray | dict[int, np.ndarray]]:
    """What predictions are scored against: a prepared array, or the masks of a folder.

    Returns:
        Those of the candidate rows whose mask shows something, and the masks by row.

    Raises:
        UserError: there is no such array or folder, or it has such a mask for none of the lesions.
    """
    if config.truth in TARGETS:
        rows = dataset.outlined_rows(candidates) if config.truth == "truth" else candidates
        return rows, dataset.array(config.truth)
    read = config.recipe.dataset.read_truth
    if read is None:
        raise UserError(
            f"--truth {config.truth} is none of {', '.join(TARGETS)}, the masks that {config.recipe.dataset.name} has"
        )
    if not Path(config.truth).is_dir():
        raise UserError(f"--truth {config.truth} is neither a folder of masks nor one of {', '.join(TARGETS)}")
    truth = read(Path(config.truth), dataset.lesions, dataset.array("ellipse"))
    masks = {row: mask for row, mask in truth.items() if mask.any()}
    rows = np.array([row for row in candidates if row in masks])
    if not len(rows):
        raise UserError(f"--truth {config.truth} has a mask for none of the lesions of the split {config.split}")
    return rows, masks


def score(
    predictor: Predictor,
    loader: LesionLoader,
    truth: np.ndarray | Mapping[int, np.ndarray],
    batch_size: int,
    world: World = SINGLE_PROCESS,
) -> list[tuple[int, dict[str, float]]]:
    """Predict and score one batch after the other, keeping only metrics.

    Args:
        predictor: the network.
        loader: what to predict.
        truth: (120, 120) masks of 0/1 by row.
        batch_size: images at a time.
        world: the processes that the lesions are divided among.

    Returns:
        Row number and metrics of each lesion that this process scores.
    """
    batches = predictor.masks(loader, batch_size)
    if world.is_main:
        batches = progress(batches, "evaluating", loader.batch_count(batch_size * world.size), "batch")
    scored = []
    for rows, masks in batches:
        scored += [(row, lesion_metrics(truth[row], mask)) for row, mask in zip(rows.tolist(), masks, strict=True)]
    return scored


def describe_evaluation(config: EvalConfig, predictor: Predictor, dataset: LesionDataset) -> dict[str, Any]:
    """What was evaluated, and how."""
    recipe, model = config.recipe, predictor.model
    as_published = config.split == "test" and config.truth == recipe.dataset.truth and not model.prompted
    return {
        "dataset": recipe.dataset.name,
        "method": recipe.method.name,
        "label": recipe.method.label,
        "split": config.split,
        "truth": config.truth if config.truth in TARGETS else "folder",
        "settings": {
            "encoder": model.encoder,
            "canvas": list(model.canvas),
            "clusters": model.clusters or config.clusters,
            "protocol": model.protocol,
            "precision": predictor.precision,
            "limit": config.limit,
            "window": dataset.metadata["preprocessing"].get("window"),
            "target": model.settings.get("target"),
            "seed": model.settings.get("seed"),
            **noise_settings(config.prompt_noise, config.seed),
            **({"tta": True} if config.tta else {}),
        },
        "prepared": dataset.identity,
        "training": {name: value for name, value in model.settings.items() if name != "groups"},
        "published": dict(zip(METRICS, recipe.published, strict=True)) if recipe.published and as_published else None,
        "checkpoint": {"file": config.checkpoint.name, "sha256": sha256(config.checkpoint)},
    }
