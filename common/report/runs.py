"""Evaluations read back from disk, and the rows of the table that they make.

Runs that differ in the seed only are one row. Rows that can be compared with each other are one block: they share what
is told of the network, its images and its scoring, while the learning rate or K may be a method's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.metrics import FRACTIONS
from common.recipe import A1, A1CLASS, ACOSEG, METHODS

METHOD_ORDER = (A1.label, ACOSEG.label, A1CLASS.label)
"""As in the paper's table."""
BLOCK_SETTINGS = {
    "encoder": "{}",
    "encoder_weights": "encoder weights {}",
    "canvas": "{}",
    "epochs": "epochs {}",
    "protocol": "{}",
    "precision": "{}",
    "limit": "limit {}",
    "truth": "against {}",
    "split": "{} split",
}
"""Settings that part blocks, and how they are told."""
ROW_SETTINGS = {
    "lr": "lr {}",
    "batch_size": "batch {}",
    "patience": "patience {}",
    "loss_weights": "loss {}",
    "clusters": "K {}",
}
"""Settings that part the rows of a block. The methods' recipes differ in them, so they are told only where the rows of
one method do."""


@dataclass
class RunGroup:
    """Runs of one method that differ in the seed only, or a floor."""

    dataset: str
    label: str
    target: str | None
    """The mask it was trained on; None for a floor."""
    lesions: int
    """How many were scored. ACoseg may have scored a few less than A1 and is compared all the same."""
    block: dict[str, str]
    """`BLOCK_SETTINGS` as text; a floor has those of the scoring only."""
    own: dict[str, str]
    """`ROW_SETTINGS` as text."""
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The method, and its target unless that is the ellipse."""
        return self.label if self.target in (None, "ellipse") else f"{self.label} trained on {self.target}"

    @property
    def competes(self) -> bool:
        """Whether it is one of the methods compared: neither a floor nor trained on true masks."""
        return self.target not in (None, "truth")

    def values(self, figure: str) -> np.ndarray:
        """(runs,) the figure as the paper prints it: per cent or px."""
        scale = 100 if figure in FRACTIONS else 1
        return np.array([np.nan if run[figure] is None else run[figure] * scale for run in self.runs], float)

    def mean(self, figure: str) -> float:
        """Mean over runs, in per cent or px."""
        return float(self.values(figure).mean())

    def spread(self, figure: str) -> float | None:
        """Sample standard deviation over runs; None for a single one."""
        return float(self.values(figure).std(ddof=1)) if len(self.runs) > 1 else None


def group_runs(results: Iterable[Mapping[str, Any]]) -> list[RunGroup]:
    """The rows that results make. The same run found twice (a copy of a folder) counts once."""
    rows: dict[tuple[Any, ...], RunGroup] = {}
    for result in results:
        told = {**result.get("training", {}), **result["settings"], "truth": result["truth"], "split": result["split"]}
        floor = "encoder" not in told
        if result["label"] not in {method.label for method in METHODS.values() if method.cluster_head}:
            told.pop("clusters", None)
        row = RunGroup(
            result["dataset"],
            result["label"],
            None if floor else told.get("target") or "ellipse",
            result["lesions"],
            _texts(told, BLOCK_SETTINGS),
            _texts(told, ROW_SETTINGS),
        )
        key = (row.dataset, row.label, row.target, row.lesions, *row.block.items(), *row.own.items())
        row = rows.setdefault(key, row)
        if _identity(result) not in map(_identity, row.runs):
            row.runs.append(dict(result))
    return list(rows.values())


def _identity(result: Mapping[str, Any]) -> Any:
    """What tells a run from others of its row; None for a floor, of which there is one."""
    return result.get("checkpoint", {}).get("sha256", result["settings"].get("seed"))


def _texts(told: Mapping[str, Any], formats: Mapping[str, str]) -> dict[str, str]:
    return {name: text.format(_text(told[name])) for name, text in formats.items() if told.get(name) is not None}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " + ".join(f"{_text(weight)} {name}" for name, weight in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def comparable_groups(rows: Sequence[RunGroup]) -> list[list[RunGroup]]:
    """Rows that can be compared with each other: a kind of networks, and the floors scored as they were."""
    kinds: dict[tuple[Any, ...], list[RunGroup]] = {}
    floors = [row for row in rows if row.target is None]
    for row in rows:
        if row.target is not None:
            kinds.setdefault((row.dataset, *row.block.items()), []).append(row)
    for floor in floors:
        fitting = [
            members
            for members in kinds.values()
            if members[0].dataset == floor.dataset and floor.block.items() <= members[0].block.items()
        ]
        for members in fitting or [kinds.setdefault((floor.dataset, *floor.block.items()), [])]:
            members.append(floor)
    return [sorted(kinds[key], key=_place) for key in sorted(kinds)]


def _place(row: RunGroup) -> tuple[Any, ...]:
    """The methods as in the paper, then what was trained on other masks, the floors and the ceiling."""
    kind = 2 if row.target is None else {"ellipse": 0, "truth": 3}.get(row.target, 1)
    order = METHOD_ORDER.index(row.label) if row.label in METHOD_ORDER else len(METHOD_ORDER)
    return kind, order, row.label.lower(), *row.own.values(), row.lesions


def a1_reference(row: RunGroup, block: Sequence[RunGroup]) -> RunGroup | None:
    """The A1 that a row is compared with: of the same target, or on the ellipse where the row is A1 or a floor.

    Returns:
        None for that A1 itself, and where several stand equally near.
    """
    target = "ellipse" if row.label == A1.label else row.target or "ellipse"
    if (row.label, row.target) == (A1.label, target):
        return None
    bases = [other for other in block if (other.label, other.target) == (A1.label, target)]
    shared = ("lr", "batch_size", "patience")
    for alike in (
        lambda a1: a1.lesions == row.lesions,
        lambda a1: all(a1.own.get(n) == row.own.get(n) for n in shared),
    ):
        if len(bases) > 1:
            bases = [a1 for a1 in bases if alike(a1)]
    return bases[0] if len(bases) == 1 else None


def common_settings(rows: Sequence[RunGroup]) -> dict[str, str]:
    """The `BLOCK_SETTINGS` that rows share, as far as each has them."""
    values = {
        name: {row.block.get(name) for row in rows if row.target is not None or name in row.block}
        for name in BLOCK_SETTINGS
    }
    return {name: text for name, found in values.items() if len(found) == 1 for text in found if text is not None}


def full_name(row: RunGroup, rows: Sequence[RunGroup]) -> str:
    """A row's name, and its settings where those of the dataset's other rows are different."""
    of_dataset = [other for other in rows if other.dataset == row.dataset]
    peers = [other for other in of_dataset if other.label == row.label]
    common = common_settings(of_dataset)
    parting = [text for name, text in row.block.items() if name not in common]
    parting += [text for name, text in row.own.items() if len({peer.own.get(name) for peer in peers}) > 1]
    return ", ".join([row.name, *parting])
