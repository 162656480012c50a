"""The full HAM10000 at 120x120, packed as it lies beside the checkout, as a prepared folder for experiments.

    python tests/full_ham.py ../shared/data/ham10000_full120 full_ham
    python common experiment ham --prepared full_ham/prepared

The second is the paper's experiment and needs a GPU; with --train "--encoder resnet50 --canvas 128x128 --epochs 3" a
CPU will do.

Ellipses and truth are those of the package; GrabCut masks are made inside the package's ellipses, and the diameters
measured on its truth. With a third argument, "crossing", the ellipses are those about the points where the diameters
cross, as the release draws DeepLesion's.
"""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "code_ham"))

import cv2
import numpy as np

import HAM_data  # also puts the project's root on the path
from common.data.lesion import Lesion, Outcome
from common.data.preprocess import PreprocessConfig, preprocess
from common.patches import PATCH
from common.recist import Ellipse, diameters, ellipse_from_diameters
from common.weak_masks import QUARTERS_SCALE, ellipse_mask, grabcut_mask

IMAGES, MASKS = "ham10000_full120.npz", "masks.npz"
_CHUNK = 500


def make_lesions(start: int, package: Path, limit: int | None, crossing: bool) -> list[Outcome]:
    """The lesions of one job, from row ``start`` on."""
    with np.load(package / IMAGES) as packed, np.load(package / MASKS) as masks:
        rows = range(start, min(start + _CHUNK, limit or len(packed["names"])))
        pixels = PATCH * PATCH
        truth, ellipse = (
            np.unpackbits(masks[name][rows.start * pixels // 8 : rows.stop * pixels // 8]).reshape(-1, PATCH, PATCH)
            for name in ("truth", "ellipse")
        )
        names, offset, recist, jpeg = (packed[name] for name in ("names", "offset", "recist", "jpeg"))
        lesions: list[Outcome] = []
        for index, row in enumerate(rows):
            ends = diameters(truth[index]).ends
            image = cv2.imdecode(jpeg[offset[row] : offset[row + 1]], cv2.IMREAD_COLOR)
            lesions.append(
                Lesion(
                    name=str(names[row]),
                    group=str(names[row]),
                    image=image,
                    ellipse=_about_crossing(ends) if crossing else ellipse[index],
                    recist=Ellipse(*recist[row].tolist()),
                    ends=ends,
                    grabcut=grabcut_mask(image, ellipse[index]),
                    truth=truth[index],
                    info={"source": f"{names[row]}.jpg"},
                )
            )
        return lesions


def _about_crossing(ends: np.ndarray) -> np.ndarray:
    ellipse = ellipse_from_diameters(ends)
    assert ellipse, "no such ellipse"
    return ellipse_mask(ellipse, (PATCH, PATCH))


def unpack(
    package: Path,
    folder: Path,
    clusters: int = HAM_data.DATASET.clusters,
    limit: int | None = None,
    crossing: bool = False,
) -> None:
    """Write ``folder``/prepared; with ``limit``, the first lesions only."""
    with np.load(package / IMAGES) as packed:
        published: dict[str, dict[str, Any]] = {name: {} for name in packed["names"].tolist()}
    splits = dict(zip(published, HAM_data.split_by_image(list(published.values())), strict=True))
    args = SimpleNamespace(
        data=package, protocol="released", clusters=clusters, seed=0, grabcut=True, quarters_scale=QUARTERS_SCALE
    )
    config = PreprocessConfig.from_args(
        HAM_data.DATASET, args, [package / IMAGES, package / MASKS], {"channels": "bgr"}
    )  # type: ignore[arg-type]

    def assign_splits(rows: list[dict[str, Any]]) -> list[str]:
        for row in rows:
            row |= published[row["lesion"]]
        return [splits[row["lesion"]] for row in rows]

    jobs = range(0, limit or len(splits), _CHUNK)
    work = partial(make_lesions, package=package, limit=limit, crossing=crossing)
    preprocess(config, folder / "prepared", jobs, work, assign_splits)


if __name__ == "__main__":
    unpack(*map(Path, sys.argv[1:3]), crossing="crossing" in sys.argv[3:])
