"""How good are masks that are drawn from the four end points of RECIST diameters alone, and from moved ones?

    python tests/mark_masks.py PREPARED ...

Prints the mean Dice with the true masks, in per cent, over all lesions of each prepared folder.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.data.dataset import LesionDataset
from common.metrics import dice
from common.patches import PATCH
from common.recist import Ellipse, ellipse_from_diameters
from common.report.tables import markdown_table
from common.weak_masks import ellipse_mask, quarters_mask

SHAPE = (PATCH, PATCH)
NOISE = (0, 5, 10, 20)


def crossing_ellipse(ends: np.ndarray) -> np.ndarray:
    """The ellipse about the crossing point, as the release draws DeepLesion's; empty for parallel diameters."""
    ellipse = ellipse_from_diameters(ends)
    return np.zeros(SHAPE, np.uint8) if ellipse is None else ellipse_mask(ellipse, SHAPE)


def box_ellipse(ends: np.ndarray) -> np.ndarray:
    """The ellipse that fills the smallest box around the end points with a side along the long diameter."""
    along = ends[1] - ends[0]
    along = along / np.hypot(*along)
    axes = np.stack([along, [-along[1], along[0]]])
    low, high = (ends @ axes.T).min(axis=0), (ends @ axes.T).max(axis=0)
    centre, size = (low + high) / 2 @ axes, high - low
    return ellipse_mask(Ellipse(*centre, *size, float(np.rad2deg(np.arctan2(along[1], along[0])))), SHAPE)


MASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ellipse about the crossing point": crossing_ellipse,
    "ellipse in the box": box_ellipse,
    "quarters, whole": lambda ends: quarters_mask(ends, SHAPE, 1.0),
    "quarters x 0.96": lambda ends: quarters_mask(ends, SHAPE, 0.96),
    "quarters x 0.97": lambda ends: quarters_mask(ends, SHAPE, 0.97),
}


def mean_dice(dataset: LesionDataset, draw: Callable[[np.ndarray], np.ndarray], noise: float) -> float:
    """Mean Dice of the masks that are drawn from all lesions' marks, moved by ``noise`` per cent."""
    ends = dataset.noisy_ends(noise, seed=0).astype(float)
    return float(np.mean([dice(draw(mark), truth) for mark, truth in zip(ends, dataset.array("truth"), strict=True)]))


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        dataset = LesionDataset.open(folder)
        rows = [
            [name, *(f"{100 * mean_dice(dataset, draw, noise):.2f}" for noise in NOISE)] for name, draw in MASKS.items()
        ]
        print(f"{folder}, {len(dataset.lesions)} lesions, marks moved by")
        print(markdown_table(["mask", *(f"{noise} %" for noise in NOISE)], rows))
