"""Score a checkpoint on lesions of a prepared folder."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.checkpoint import Trained, load_trained, open_trained
from common.cli import TARGETS, Run
from common.dataset import LesionBatches, centre
from common.device import autocast, fetch, memory_told, pick_device, pick_precision, tune
from common.distributed import Share, processes
from common.errors import UserError
from common.files import sha256
from common.metrics import FIGURES, batch_figures
from common.parallel import parallel_map
from common.prepared import Prepared
from common.progress import progress
from common.scores import print_figures, write_scores

_MOST_SCORERS = 4


def evaluate(run: Run) -> None:
    """Evaluate a run's checkpoint; print the six figures, write `<stem>.json` and `<stem>.csv` into the results folder.

    Splits other than test write `<stem>.<split>.json` and `.csv`.

    Raises:
        UserError: something asked for is missing or does not fit.
    """
    device = pick_device(run.device)
    with processes(device) as share:
        _evaluate(run, device, share)


def _evaluate(run: Run, device: torch.device, share: Share) -> None:
    trained = load_trained(run)
    prepared = Prepared.open(run.prepared, run.recipe.dataset, trained.protocol)
    rows = scored_rows(prepared, run, trained)
    truth = truth_masks(prepared, run, rows)
    rows = np.array([row for row in rows if row in truth]) if isinstance(truth, dict) else rows
    run.results.mkdir(parents=True, exist_ok=True)  # a folder that can't be made is told before the work, not after
    precision = pick_precision(run.precision, device)
    tune(device, precision)
    trained.network.to(device).to(memory_format=torch.channels_last).eval()
    start = time.monotonic()
    lesions = LesionBatches(prepared, rows, "ellipse", trained.canvas, device, share)
    with memory_told(run.recipe.batch_size, trained.canvas):
        scored = share.gather(score(trained, lesions, truth, run.recipe.batch_size, precision))
    if not share.first:
        return
    scores = [figures for _, figures in sorted(scored, key=lambda one: one[0])]
    seconds = time.monotonic() - start
    about = describe(run, trained, precision) | {
        "seconds": round(seconds, 3),
        "images_per_second": round(len(rows) / seconds, 2),
    }
    stem = run.checkpoint.stem if run.split == "test" else f"{run.checkpoint.stem}.{run.split}"
    summary = write_scores(run.results, stem, [prepared.lesions[row] for row in rows], scores, trained.protocol, about)
    print_figures(summary, run.truth)
    print(f"{run.results / stem}.json and .csv written ({len(rows) / seconds:.2f} images/s)")


def scored_rows(prepared: Prepared, run: Run, trained: Trained) -> np.ndarray:
    """The lesions that are scored: under `released`, down to the recipe's multiple (FACTS.md 4.4).

    Raises:
        UserError: none are left.
    """
    rows = prepared.rows(run.split, run.limit)
    multiple = run.recipe.scored_multiple
    if trained.protocol == "corrected" or len(rows) % multiple == 0:
        return rows
    kept = rows[: len(rows) - len(rows) % multiple]
    if not len(kept):
        raise UserError(
            f"the released protocol scores lesions by the {multiple}, and the split {run.split} has {len(rows)}; "
            "pass --protocol corrected"
        )
    print(f"the released protocol leaves out the last {len(rows) - len(kept)} of {len(rows)} lesions")
    return kept


def truth_masks(prepared: Prepared, run: Run, rows: np.ndarray) -> np.ndarray | dict[int, np.ndarray]:
    """What predictions are scored against, by row: a prepared array, or masks read from a folder.

    Raises:
        UserError: there is no such array or folder, or it has a mask for none of the lesions.
    """
    if run.truth in TARGETS:
        return prepared.array(run.truth)
    read = run.recipe.dataset.read_truth
    if read is None or not Path(run.truth).is_dir():
        raise UserError(f"--truth {run.truth} is neither a folder of masks nor one of {', '.join(TARGETS)}")
    masks = read(Path(run.truth), prepared.lesions)
    if not any(row in masks for row in rows):
        raise UserError(f"--truth {run.truth} has a mask for none of the lesions of the split {run.split}")
    return masks


def score(
    trained: Trained,
    lesions: LesionBatches,
    truth: np.ndarray | Mapping[int, np.ndarray],
    batch_size: int,
    precision: str,
) -> list[tuple[int, dict[str, float]]]:
    """Predict and score one batch after the other, keeping only figures.

    Args:
        trained: its network on the device, in eval mode.
        lesions: what to predict.
        truth: (120, 120) masks of 0/1 by row.
        batch_size: images at a time.
        precision: "fp32" or "bf16".

    Returns:
        Row number and figures of each lesion that is this process's to score.
    """
    batches = predictions(trained, lesions, batch_size, precision)
    if lesions.share.first:
        batches = progress(batches, "evaluating", lesions.count(batch_size * lesions.share.size), "batch")
    rows: list[int] = []

    def pairs() -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
        for of_batch, masks in batches:
            rows.extend(of_batch.tolist())
            yield [(truth[row], mask) for row, mask in zip(of_batch, masks, strict=True)]

    scored = parallel_map(batch_figures, pairs(), _scorers(lesions.device))
    figures = [of_lesion for of_batch in scored for of_lesion in of_batch]
    return list(zip(rows, figures, strict=True))


def _scorers(device: torch.device) -> int:
    """Processes that score: a GPU predicts faster than one can, while a CPU has no core to spare for them."""
    return min(os.cpu_count() or 1, _MOST_SCORERS) if device.type == "cuda" else 1


@torch.inference_mode()
def predictions(
    trained: Trained, lesions: LesionBatches, batch_size: int, precision: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A network's masks, batch by batch: (B,) row numbers and (B, 120, 120) uint8 0/1.

    A batch is handed out when the device has been given the next one, so that it never waits for who uses the masks.
    """
    waiting: deque[tuple[np.ndarray, Callable[[], Tensor]]] = deque()
    for images, rows in lesions.images(batch_size):
        with autocast(lesions.device, precision):
            logits = trained.network(images)["mask"]
        # Probability 0.5 is logit 0.
        waiting.append((rows, fetch((centre(logits)[:, 0] > 0).to(torch.uint8))))
        if len(waiting) > 1:
            done, masks = waiting.popleft()
            yield done, masks().numpy()
    for done, masks in waiting:
        yield done, masks().numpy()


def predict_rows(checkpoint: Path, prepared: Prepared, rows: np.ndarray) -> tuple[str, np.ndarray]:
    """A checkpoint's method and its (N, 120, 120) uint8 predictions for rows of a prepared folder.

    Raises:
        UserError: not a checkpoint.
    """
    trained = open_trained(checkpoint)
    device = pick_device("auto")
    trained.network.to(device).to(memory_format=torch.channels_last).eval()
    lesions = LesionBatches(prepared, rows, "ellipse", trained.canvas, device)
    masks = [masks for _, masks in predictions(trained, lesions, 8, "fp32")]
    return trained.method.label, np.concatenate(masks)


def describe(run: Run, trained: Trained, precision: str) -> dict[str, Any]:
    """What was evaluated, and how."""
    published = run.recipe.published
    return {
        "dataset": run.recipe.dataset.name,
        "method": run.recipe.method.name,
        "label": run.recipe.method.label,
        "split": run.split,
        "truth": run.truth if run.truth in TARGETS else "folder",
        "settings": {
            "encoder": trained.encoder,
            "canvas": list(trained.canvas),
            "clusters": trained.clusters or run.clusters,
            "protocol": trained.protocol,
            "precision": precision,
            "limit": run.limit,
            "target": trained.recipe.get("target"),
            "seed": trained.recipe.get("seed"),
        },
        "training": trained.recipe,
        "published": dict(zip(FIGURES, published, strict=True)) if published else None,
        "checkpoint": {"file": run.checkpoint.name, "sha256": sha256(run.checkpoint)},
    }
