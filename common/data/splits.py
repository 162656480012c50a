"""Splitting whole groups (patients, volumes, lesions seen twice) into train, val and test."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

FRACTIONS = {"train": 0.7, "val": 0.2, "test": 0.1}
"""The paper's 70/20/10."""


def split_rows(rows: Iterable[Mapping[str, Any]], key: str = "group") -> list[str]:
    """Name each row's split, "train", "val" or "test", 70/20/10; rows with the same ``key`` are in the same split.

    Groups are shuffled by seed 1, then each goes to the split that lacks most rows; the last ones fill splits that are
    still empty, so that three groups give three splits.
    """
    groups = [row[key] for row in rows]
    sizes = Counter(groups)
    order = sorted(sizes, key=str)
    random.Random(1).shuffle(order)
    lacking = {name: fraction * len(groups) for name, fraction in FRACTIONS.items()}
    empty = set(FRACTIONS)
    chosen: dict[Any, str] = {}
    for place, group in enumerate(order):
        candidates = empty if len(order) - place <= len(empty) else FRACTIONS.keys()
        name = max(candidates, key=lambda split: (lacking[split], split))
        chosen[group] = name
        lacking[name] -= sizes[group]
        empty.discard(name)
    return [chosen[group] for group in groups]
