"""The floors that the paper lacks: the weak masks themselves, scored against the truth.

    python common/floors.py PREPARED --results DIR [--truth grabcut]

Writes floor_ellipse.json and .csv, and floor_grabcut.json and .csv, in the form of an evaluation, so that
common/report.py sets them beside the networks. A network that is worse than the ellipse it was trained on has learnt
nothing from the image.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from anywhere, from a bare clone

from common.cli import Parser
from common.errors import UserError, run_script
from common.metrics import lesion_figures
from common.prepared import SPLITS, Prepared
from common.progress import progress
from common.scores import print_figures, write_scores

FLOORS = {"ellipse": "ellipse itself", "grabcut": "GrabCut itself"}


def score_floor(prepared: Prepared, name: str, truth: str, split: str, results: Path) -> None:
    """Score one weak mask of a prepared folder against its truth.

    Args:
        prepared: the folder.
        name: "ellipse" or "grabcut".
        truth: the array it is scored against.
        split: whose lesions.
        results: folder that `floor_<name>.json` and `.csv` are written to.

    Raises:
        UserError: the folder has no truth, or not this mask.
    """
    rows = prepared.rows(split)
    masks, reference = prepared.array(name), prepared.array(truth)
    scores = [lesion_figures(reference[row], masks[row]) for row in progress(rows, FLOORS[name], len(rows))]
    content = prepared.content
    about = {
        "dataset": content["dataset"],
        "method": name,
        "label": FLOORS[name],
        "split": split,
        "truth": truth,
        "settings": {"protocol": content["protocol"]},
    }
    stem = f"floor_{name}" if split == "test" else f"floor_{name}.{split}"
    lesions = [prepared.lesions[row] for row in rows]
    print_figures(write_scores(results, stem, lesions, scores, content["protocol"], about), truth)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="a prepared folder")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="test")
    parser.add_argument("--truth", choices=("truth", *FLOORS), default="truth", help="masks to score against")
    args = parser.parse_args(arguments)
    prepared = Prepared.load(args.prepared)
    arrays = prepared.content["arrays"]
    if args.truth not in arrays:
        masks = "human masks" if args.truth == "truth" else f"{args.truth} masks"
        raise UserError(f"{args.prepared} has no {masks} to score against")
    for name in FLOORS:
        if name in arrays and name != args.truth:
            score_floor(prepared, name, args.truth, args.split, args.results)


if __name__ == "__main__":
    run_script(main)
