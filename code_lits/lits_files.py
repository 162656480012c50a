"""The volumes of LiTS that have segmentations, found by name and compared before any work begins."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from common.data.dataset import Dropped
from common.data.pairs import drop_unpaired
from common.utils.errors import UserError
from common.utils.files import list_files
from lits_scan import Scan

VOLUME_FOLDER, SEGMENTATION_FOLDER = "volume", "segmentations"


class Pair(NamedTuple):
    """A volume and its segmentation."""

    name: str
    volume: Path
    segmentation: Path


def find_pairs(data: Path) -> tuple[list[Pair], list[Dropped]]:
    """Find the volumes that have segmentations, in the order of the patches' names, and the files without counterpart.

    Where a file is there as ``.nii`` and as ``.nii.gz``, the former is taken: it is faster to read.

    Raises:
        UserError: a folder is missing, or no volume has a segmentation.
    """
    volumes = _find_scans(data / VOLUME_FOLDER, "volume")
    segmentations = _find_scans(data / SEGMENTATION_FOLDER, "segmentation")
    dropped = drop_unpaired(volumes, segmentations, ("volume", "segmentation"), "{kind}-{key}")
    numbers = sorted(volumes.keys() & segmentations.keys(), key=lambda n: f"{n}_")  # "10_" before "1_", as names sort
    if not numbers:
        raise UserError(f"no volume-N.nii[.gz] in {data / VOLUME_FOLDER} has a segmentation-N; the numbers must match")
    return [Pair(f"volume-{n}", volumes[n], segmentations[n]) for n in numbers], dropped


def _find_scans(folder: Path, stem: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; put LiTS there as code_lits/README.md says, or pass --data DIR")
    paths = reversed(list_files(folder, f"{stem}-*.nii*"))  # .nii comes last and replaces .nii.gz
    matches = ((re.fullmatch(rf"{stem}-(\d+)\.nii(\.gz)?", path.name), path) for path in paths)
    return {match[1]: path for match, path in matches if match}


def check_pairs(pairs: Iterable[Pair]) -> None:
    """Compare the headers of all volumes and segmentations; a line on stderr for each thing a user should know.

    Raises:
        UserError: as `Scan`.
    """
    volumes: dict[str, list[str]] = {}
    for pair in pairs:
        volume = Scan(pair.volume)
        for remark in volume.remarks + Scan(pair.segmentation, volume).remarks:
            volumes.setdefault(remark, []).append(pair.name)
    for remark, names in volumes.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"{', '.join(names[:3])}{more}: {remark}", file=sys.stderr)
