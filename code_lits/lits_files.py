"""The volumes of LiTS that have segmentations, found by name and compared before any work begins."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from filecmp import cmp
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from common.data.lesion import Dropped
from common.data.pairs import drop_unpaired, unique_files
from common.utils.errors import UserError, join_names
from common.utils.files import describe_folder, find_files
from lits_scan import Scan

# As in the challenge's batches and on Kaggle, or as in the Medical Segmentation Decathlon.
_VOLUME, _SEGMENTATION = (
    re.compile(rf"(?:^|/)(?:{stem}-|{folder}/(?:.+/)?liver_)(\d+)\.nii(?:\.gz)?$", re.IGNORECASE)
    for stem, folder in (("volume", "imagesTr"), ("segmentation", "labelsTr"))
)


class Pair(NamedTuple):
    """A volume and its segmentation."""

    name: str
    volume: Path
    segmentation: Path


def find_pairs(data: Path) -> tuple[list[Pair], list[Dropped]]:
    """Find volumes and segmentations anywhere below a folder, and say what is taken.

    Where a folder has a file as ``.nii`` and as ``.nii.gz``, the former is taken: it is faster to read.

    Returns:
        The volumes that have segmentations, in the order of the patches' names; the files without counterpart.

    Raises:
        UserError: no volume has a segmentation, files of one number differ, or those of two numbers are the same.
    """
    paths = find_files(data, ".nii", ".nii.gz")
    unpacked = set(paths)
    if packed := [path.name for path in paths if path.with_suffix("") in unpacked]:
        print(f"{join_names(packed)}: passed over; the .nii of the same name is read", file=sys.stderr)
    volumes, segmentations = (
        unique_files(
            (match[1], path)
            for path in paths
            if (match := name.search(path.as_posix())) and path.with_suffix("") not in unpacked
        )
        for name in (_VOLUME, _SEGMENTATION)
    )
    numbers = sorted(volumes.keys() & segmentations.keys(), key=lambda n: f"{n}_")  # "10_" before "1_", as names sort
    if not numbers:
        raise UserError(
            f"{data} holds {len(volumes)} volumes and {len(segmentations)} segmentations, but none of the same number "
            "(volume-N.nii[.gz] and segmentation-N.nii[.gz], or imagesTr/liver_N and labelsTr/liver_N); "
            f"{describe_folder(data)}; unpack LiTS there as code_lits/README.md says, or pass --data DIR"
        )
    pairs = [Pair(f"volume-{n}", volumes[n], segmentations[n]) for n in numbers]
    folders = sorted({str(path.parent.relative_to(data)) for pair in pairs for path in pair[1:]})
    for first, second in combinations(pairs, 2):
        if first.volume.stat().st_size == second.volume.stat().st_size and cmp(first.volume, second.volume, False):
            raise UserError(
                f"{first.volume} and {second.volume} are copies, which may fall into different splits; remove one"
            )
    print(f"LiTS: {len(pairs)} volumes with segmentations below {data}, in {join_names(folders)}")
    return pairs, drop_unpaired(volumes, segmentations, ("volume", "segmentation"), "{kind}-{key}")


def check_pairs(pairs: Iterable[Pair]) -> None:
    """Compare the headers of all volumes and segmentations; a line on stderr for each thing a user should know.

    Unreadable files are skipped here; preparing reports them.
    """
    volumes: dict[str, list[str]] = {}
    for pair in pairs:
        with suppress(UserError, OSError):
            volume = Scan(pair.volume)
            for remark in volume.remarks + Scan(pair.segmentation, volume).remarks:
                volumes.setdefault(remark, []).append(pair.name)
    print_remarks(volumes)


def print_remarks(volumes: Mapping[str, Sequence[str]]) -> None:
    """Print on stderr what a user should know about volumes; their names are by remark."""
    for remark, names in volumes.items():
        print(f"{join_names(names)}: {remark}", file=sys.stderr)
