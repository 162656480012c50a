"""The split of LiTS: published, seeded by volume, or from a file. No volume is ever in two splits."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.data.dataset import SPLITS
from common.data.splits import split_rows
from common.utils.errors import UserError, join_names
from common.utils.files import read_rows

PUBLISHED_RUNS = """
E20 T772 V45 T2456 V356 T87 E276 V117 E381 T1447 V596 T134 E9 T15 V3 T1601 E91 V12 E7 V486 T68 E95 T51 V89 E12 T36 V6
T6 V99 T306 E116 V22 T28 V18 T49 E319 V42 T31 V131 E14 T213 V25 T73 V160 T27 V45 T543 V7 T85 E21 T10 V4 E21 V20 T4 V27
E24 V57 T107 V60 T30 V26 T4 E13 V12 T176 V136 E38 T612 V270 E88 T1267 V320 T1284 V119 E85
"""  # the published split as runs over the patches in the order of their names (FACTS.md section 3)


def published_split() -> list[str]:
    """Return the published split of each patch, in the order of the names: 11,522 train, 3,310 val, 1,630 test."""
    names = {"T": "train", "V": "val", "E": "test"}
    return [names[run[0]] for run in PUBLISHED_RUNS.split() for _ in range(int(run[1:]))]


def read_split_file(path: Path, known: set[str]) -> dict[str, str]:
    """Read the split of each volume from a CSV file with the columns ``volume`` and ``split``.

    A volume is called 7, volume-7 or liver_7, with or without .nii[.gz]. All ``known`` ones, those that have
    segmentations, must be named, and no other.

    Raises:
        UserError: a column, a volume or a split is unknown or missing, or a volume is in two splits.
    """
    splits: dict[str, str] = {}
    for line, row in enumerate(read_rows(path), 2):
        if not {"volume", "split"} <= row.keys():
            raise UserError(f"{path} lacks the column volume or split; its first line must be volume,split")
        name, split = row["volume"], row["split"]
        if match := re.fullmatch(r"(?:volume-|liver_)?(\d+)(?:\.nii(?:\.gz)?)?", name):
            name = f"volume-{match[1]}"
        if name not in known:
            raise UserError(f"{path} line {line} names {name}, which has no volume with segmentation; remove the line")
        if split not in SPLITS:
            raise UserError(f"{path} line {line} says {split!r}; a split is one of {', '.join(SPLITS)}")
        if splits.setdefault(name, split) != split:
            raise UserError(
                f"{path} line {line} puts {name} into {split}, an earlier one into {splits[name]}; keep one"
            )
    if missing := sorted(known - splits.keys()):
        raise UserError(f"{path} doesn't name {join_names(missing)}; give every volume a split")
    return splits


def split_by_volume(rows: list[dict[str, Any]], chosen: Mapping[str, str] | None = None) -> list[str]:
    """Split rows by volume, and print which split it is.

    Args:
        rows: of `lesions.csv`, in the order of their names.
        chosen: the split of each volume, from a split file; None means the published runs if exactly the published
            patches are there, else a seeded 70/20/10 of the volumes by number of patches.
    """
    volumes = [row["group"] for row in rows]
    if chosen is not None:
        print("split: as the split file says")
        return [chosen[volume] for volume in volumes]
    published = published_split()
    if len(rows) == len(published) and len(set(zip(volumes, published, strict=True))) == len(set(volumes)):
        print(f"split: the published one, {len(rows)} patches")
        return published
    print(f"split: volumes 70/20/10 by patches, seed 1 (the published one needs its {len(published)} patches)")
    return split_rows(rows)
