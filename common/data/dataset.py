"""The arrays on disk: written once, mapped many times.

`<data folder>/prepared/` holds, row i always being the same lesion:

    images.npy    (N, 120, 120, 3) uint8 or float32   intensities 0..255 in the network's channel order
    ellipse.npy   (N, 120, 120) uint8 0/1             the published approximate target
    quarters.npy  (N, 120, 120) uint8 0/1             a better one: `weak_masks.quarters_mask` of ends.npy
    grabcut.npy   (N, 120, 120) uint8 0/1             the GrabCut target (absent with --no-grabcut)
    truth.npy     (N, 120, 120) uint8 0/1             the test truth (absent where nobody drew one; empty for lesions
                                                      whose outline is not known)
    recist.npy    (N, 5) float32                      cx, cy, width, height in px of the patch, angle in degrees
    ends.npy      (N, 4, 2) float32                   x, y in px of the patch: the long RECIST diameter's, the short's
    lesions.csv   lesion, split, group, cluster, source, and whatever else the dataset knows; a seeded
                  split never divides a group (patient, volume, ...); where the published split has an order of its own,
                  the column order holds it
    dropped.csv   lesion, reason: nothing leaves the set without a line here
    prepared.json format, dataset, protocol, K, seed, preprocessing, other settings, identity, versions, counts; its
                  presence means the folder is whole

Folders prepared by earlier versions lack quarters.npy and ends.npy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from common.patches import PATCH
from common.recipe import DatasetInfo, Protocol, default_target
from common.recist import mark_noise, move_ends
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json

FORMAT = 2
SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
TABLES = ("lesions.csv", "dropped.csv", "prepared.json")
_REQUIRED = {
    "dataset": str,
    "protocol": str,
    "preprocessing": dict,
    "identity": str,
    "clusters": int,
    "lesions": int,
    "arrays": list,
}  # keys of `prepared.json` that are read, and their types
MASK = ((PATCH, PATCH), "u")  # shape, and kinds of numbers
ARRAYS = {
    "images": ((PATCH, PATCH, 3), "uf"),
    "ellipse": MASK,
    "quarters": MASK,
    "grabcut": MASK,
    "truth": MASK,
    "recist": ((5,), "f"),
    "ends": ((4, 2), "f"),
}  # shape of a row, and NumPy's letters for the kinds of numbers


def describe_empty(splits: Iterable[str]) -> str:
    """What to say of ``splits`` without lesions."""
    return (
        f"no {' or '.join(_SPLIT_NAMES[split] for split in splits)} lesions; training needs training and validation "
        "lesions, evaluation test lesions or another --split: add images, volumes or patients, or split them otherwise"
    )


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """The content of a finished folder's `prepared.json`; None where there is none."""
    path = folder / "prepared.json"
    return read_json(path) if path.is_file() else None


def prepared_clusters(folder: Path, info: DatasetInfo) -> int:
    """K of the arrays in ``folder``; the published one while there are none."""
    return (read_metadata(folder) or {}).get("clusters") or info.clusters


def _prepare_command(folder: Path, info: DatasetInfo) -> str:
    if folder == info.folder / info.data / "prepared":
        return info.prepare_command
    where = f"--data {folder.parent}" if folder.name == "prepared" else f"--prepared {folder}"
    return f"{info.prepare_command} {where}"


@dataclass(frozen=True)
class LesionDataset:
    """An open prepared folder; mapped arrays keep their content even if the folder is prepared again."""

    folder: Path
    metadata: Mapping[str, Any]  # the content of `prepared.json`.
    lesions: list[dict[str, str]]
    _mapped: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path, remedy: str = "prepare it") -> Self:
        """Open ``folder`` whatever it was made for; ``remedy`` is what messages advise.

        Raises:
            UserError: missing, unfinished or damaged.
        """
        metadata = read_metadata(folder)
        if metadata is None:
            raise UserError(f"{folder} is missing or unfinished; {remedy} first")
        if metadata.get("format") != FORMAT:
            raise UserError(f"{folder} has format {metadata.get('format')}, not {FORMAT}; {remedy} with --force")
        if missing := [name for name, kind in _REQUIRED.items() if not isinstance(metadata.get(name), kind)]:
            raise UserError(f"{folder / 'prepared.json'} does not tell {', '.join(missing)}; {remedy} with --force")
        lesions, table = read_csv(folder / "lesions.csv"), folder / "lesions.csv"
        if len(lesions) != metadata["lesions"]:
            raise UserError(f"{table} has {len(lesions)} rows, not {metadata['lesions']}; {remedy} with --force")
        labels = {str(cluster) for cluster in range(metadata["clusters"])}
        if not all(
            row.get("lesion") and row.get("group") and row.get("split") in SPLITS and row.get("cluster") in labels
            for row in lesions
        ):
            raise UserError(f"{table} has a row without name, group, split or cluster; {remedy} with --force")
        return cls(folder, metadata, lesions)

    @classmethod
    def open_for(
        cls, folder: Path, info: DatasetInfo, protocol: Protocol | None = None, clusters: int | None = None
    ) -> Self:
        """Open ``folder``, `<data folder>/prepared` by default, and `check` it.

        Raises:
            UserError: missing, damaged, or made with other settings; names the command that mends it.
        """
        command = _prepare_command(folder, info)
        if read_metadata(folder) is None:
            raise UserError(
                f"{folder} is missing or unfinished; run {command} first, or pass --prepared DIR if it is elsewhere"
            )
        dataset = cls.open(folder, f"run {command}")
        dataset.check(info, protocol, clusters)
        return dataset

    def check(self, info: DatasetInfo, protocol: Protocol | None = None, clusters: int | None = None) -> None:
        """Check that these are lesions of a dataset, prepared under a protocol and with a K; None means any.

        Raises:
            UserError: they are not; names the command that mends it.
        """
        own = self.metadata
        for name, value in {"dataset": info.name, "protocol": protocol, "clusters": clusters}.items():
            if value is not None and own[name] != value:
                flags = f"--protocol {protocol or own['protocol']} --clusters {clusters or own['clusters']}"
                raise UserError(
                    f"{self.folder} was made with {name} {own[name]}, but {value} is asked for; "
                    f"run {_prepare_command(self.folder, info)} {flags}"
                    + (", or leave --clusters out" if name == "clusters" else "")
                )

    def array(self, name: str) -> np.ndarray:
        """Map `<name>.npy` read-only.

        Raises:
            UserError: this folder has no such array, or it is damaged.
        """
        if name in self._mapped:
            return self._mapped[name]
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            remedies = dict.fromkeys(("quarters", "ends"), "; prepare it again with --force")
            remedy = remedies.get(name, "; add true masks and prepare it again" if name == "truth" else "")
            raise UserError(f"{path} does not exist: this folder was prepared without it{remedy}")
        try:
            array = np.load(path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise UserError(f"{path} is damaged; prepare the folder again with --force") from error
        shape, kinds = ARRAYS[name]
        if array.shape != (len(self.lesions), *shape) or array.dtype.kind not in kinds:
            raise UserError(
                f"{path} holds {array.dtype} numbers of shape {array.shape}, not {(len(self.lesions), *shape)}; "
                "prepare the folder again with --force"
            )
        return self._mapped.setdefault(name, array)

    def noisy_ends(self, percent: float, seed: int) -> np.ndarray:
        """The (N, 4, 2) end points of all lesions, moved by ``percent`` of the long diameter."""
        ends = self.array("ends")
        noise = mark_noise([seed, row] for row in range(len(ends)))
        return move_ends(ends, percent / 100, noise).astype(ends.dtype)

    @property
    def target(self) -> str:
        """Weak masks that pictures show: the protocol's default target, or the ellipse if an older folder lacks it."""
        name = default_target(self.metadata["protocol"])
        return name if name in self.metadata["arrays"] else "ellipse"

    @property
    def identity(self) -> str:
        """Digest of arrays, table and settings: equal for equal content, wherever and whenever it was prepared."""
        return self.metadata["identity"]

    def outlined_rows(self, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` whose true outline is known.

        Raises:
            UserError: none is, or as `array`.
        """
        truth = self.array("truth")
        outlined = rows[[bool(truth[row].any()) for row in rows]]
        if not len(outlined):
            raise UserError(f"{self.folder / 'truth.npy'} has no outline of any of these lesions; add outlines")
        return outlined

    def choose_rows(self, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
        """Choose ``count`` of ``rows`` at random, in whole groups; ascending.

        Raises:
            UserError: there are not so many, or whole groups make another number.
        """
        members: dict[str, list[int]] = {}
        for row in rows.tolist():
            members.setdefault(self.lesions[row]["group"], []).append(row)
        chosen: list[int] = []
        for group in np.random.default_rng(seed).permutation(sorted(members)):
            if len(chosen) + len(members[group]) <= count:
                chosen += members[group]
        if len(chosen) < count:
            fit = len(chosen) or min(map(len, members.values()))
            raise UserError(
                f"{self.folder} has {len(rows)} training lesions with an outline, of which whole groups (patients, "
                f"...) make {fit}, not {count}; pass {fit}"
            )
        return np.sort(np.array(chosen, dtype=rows.dtype))

    def groups(self, rows: np.ndarray) -> list[str]:
        """The groups that some lesions belong to, each once, sorted."""
        return sorted({self.lesions[row]["group"] for row in rows})

    def clusters(self) -> np.ndarray:
        """(N,) int64 shape clusters."""
        return np.array([int(row["cluster"]) for row in self.lesions], np.int64)

    def rows(self, split: str, limit: int | None = None) -> np.ndarray:
        """Row numbers of a split ("train", "val", "test" or "all"), the first ``limit`` of each split.

        Raises:
            UserError: the split is empty.
        """
        wanted = SPLITS if split == "all" else (split,)
        of_split = [[i for i, row in enumerate(self.lesions) if row["split"] == name][:limit] for name in wanted]
        rows = sorted(row for rows in of_split for row in rows)
        if not rows:
            raise UserError(f"{self.folder} has {describe_empty(wanted)}")
        return np.array(rows)
