"""Baselines that the paper lacks: the weak masks themselves, scored against the truth.

    python common baselines PREPARED --results DIR [--truth grabcut]

Writes baseline_ellipse.json and .csv, and the same for quarters and grabcut, in the form of an evaluation, so that
`python common report` sets them beside the networks. A network that is given the mark, as A1+R, and scores below the
quarters has learnt nothing from the images. With --prompt-noise and the --seed of a network's evaluation only the
quarters are scored, drawn anew from the very marks that the network sees.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.data.dataset import SPLITS, LesionDataset
from common.evaluation.results import noise_settings, print_left_out, print_metrics, result_stem, write_results
from common.metrics import lesion_metrics
from common.patches import PATCH
from common.utils.arguments import Parser, number_below, positive, seed_number
from common.utils.errors import UserError
from common.utils.files import check_writable
from common.utils.progress import progress
from common.weak_masks import QUARTERS_SCALE, quarters_mask

BASELINES = {"ellipse": "ellipse itself", "quarters": "quarters themselves", "grabcut": "GrabCut itself"}
"""Weak masks, and how tables call them."""


def baseline_stem(name: str, truth: str, split: str = "test", **settings: Any) -> str:
    """The stem of a baseline's files: see `result_stem`."""
    return result_stem(f"baseline_{name}", split, truth=None if truth == "truth" else truth, **settings)


def score_baseline(
    dataset: LesionDataset,
    name: str,
    truth: str,
    split: str,
    limit: int | None,
    results: Path,
    noise: float = 0,
    seed: int = 0,
) -> None:
    """Score the first ``limit`` weak masks of a split; print the metrics, write `baseline_<name>.json` and `.csv`.

    With ``noise`` the masks are the quarters of marks moved by it (`LesionDataset.noisy_ends`). For the files' names
    see `baseline_stem`.

    Raises:
        UserError: the dataset lacks the mask or the truth, or the split is empty.
    """
    rows = dataset.rows(split, limit)
    scored = dataset.outlined_rows(rows) if truth == "truth" else rows
    print_left_out(len(rows), len(scored), "truth.npy")
    rows = scored
    masks: np.ndarray | dict[int, np.ndarray] = dataset.array(name)
    reference = dataset.array(truth)
    if noise:
        ends = dataset.noisy_ends(noise, seed)
        scale = dataset.metadata["settings"].get("quarters_scale", QUARTERS_SCALE)
        masks = {row: quarters_mask(ends[row], (PATCH, PATCH), scale) for row in rows.tolist()}
    scores = [lesion_metrics(reference[row], masks[row]) for row in progress(rows, BASELINES[name], len(rows))]
    protocol, window = dataset.metadata["protocol"], dataset.metadata["preprocessing"].get("window")
    about = {
        "dataset": dataset.metadata["dataset"],
        "method": name,
        "label": BASELINES[name],
        "split": split,
        "truth": truth,
        "prepared": dataset.identity,
        "settings": {"protocol": protocol, "limit": limit, "window": window, **noise_settings(noise, seed)},
    }
    stem = baseline_stem(name, truth, split, limit=limit, noise=noise, seed=seed)
    lesions = [dataset.lesions[row] for row in rows]
    print_metrics(write_results(results, stem, lesions, scores, protocol, about), truth)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="a prepared folder")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="test")
    parser.add_argument("--truth", choices=("truth", *BASELINES), default="truth", help="masks to score against")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N lesions of the split")
    parser.add_argument("--prompt-noise", type=number_below(100), default=0.0, metavar="PERCENT",
        help="move the marks by this much of the long diameter (default 0)")  # fmt: skip
    parser.add_argument("--seed", type=seed_number, default=0, help="of the noise (default 0)")
    args = parser.parse_args(arguments)
    dataset = LesionDataset.open(args.prepared)
    arrays = dataset.metadata["arrays"]
    if args.truth not in arrays:
        masks = "human masks" if args.truth == "truth" else f"{args.truth} masks"
        raise UserError(f"{args.prepared} has no {masks} to score against")
    check_writable(args.results, "pass another --results")
    noise = args.prompt_noise, args.seed
    names = ["quarters"] if args.prompt_noise else [name for name in BASELINES if name in {*arrays} - {args.truth}]
    for name in names:
        score_baseline(dataset, name, args.truth, args.split, args.limit, args.results, *noise)
