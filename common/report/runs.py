"""Runs grouped into the rows of the results table, and the groups that can be compared with each other.

Runs that differ in the seed only form a group. Groups are comparable when network, images and scoring are the same
(`SHARED_SETTINGS`); learning rate, K and the like (`METHOD_SETTINGS`) may be a method's own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from common.metrics import FRACTIONS, METRICS
from common.recipe import A1, A1CLASS, ACOSEG, METHODS

METHOD_ORDER = (A1.label, ACOSEG.label, A1CLASS.label)
"""As in the paper's table."""
SHARED_SETTINGS = {
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
"""Settings that comparable groups share, and how they are written."""
METHOD_SETTINGS = {
    "lr": "lr {}",
    "batch_size": "batch {}",
    "patience": "patience {}",
    "loss_weights": "loss {}",
    "clusters": "K {}",
}
"""Settings in which comparable groups may differ, as the methods' recipes do."""


@dataclass(frozen=True, eq=False)
class RunGroup:
    """Runs of one method that differ in the seed only, or a baseline."""

    dataset: str
    label: str
    target: str | None
    """The mask that the network was trained on; None for a baseline."""
    lesions: int
    """How many were scored."""
    settings: Mapping[str, str]
    """`SHARED_SETTINGS` and `METHOD_SETTINGS` as text; a baseline has those of the scoring only."""
    runs: Sequence[Mapping[str, Any]]
    """Evaluations, as `read_evaluation` returns them."""

    @property
    def name(self) -> str:
        """The method, and its target unless that is the ellipse."""
        return self.label if self.target in (None, "ellipse") else f"{self.label} trained on {self.target}"

    @property
    def competes(self) -> bool:
        """Whether this is one of the methods compared, neither a baseline nor the upper bound."""
        return self.target not in (None, "truth")

    @property
    def kind(self) -> tuple[tuple[str, str], ...]:
        """What comparable groups have in common: the dataset and the `SHARED_SETTINGS`."""
        return ("dataset", self.dataset), *(item for item in self.settings.items() if item[0] in SHARED_SETTINGS)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """`METRICS` of each run as the paper prints them: per cent or px, NaN where undefined."""
        metrics = pd.DataFrame(list(self.runs), columns=list(METRICS), dtype=float)
        return metrics * [100 if name in FRACTIONS else 1 for name in METRICS]

    def mean(self, metric: str) -> float:
        """Mean over runs; NaN where a run leaves the metric undefined."""
        return float(self.metrics[metric].mean(skipna=False))

    def text(self, metric: str) -> str:
        """Mean ± sample standard deviation over runs; the mean alone for a single run."""
        mean, spread = self.mean(metric), self.metrics[metric].std(skipna=False)
        return f"{mean:.2f}" if pd.isna(spread) else f"{mean:.2f}±{spread:.2f}"


def group_runs(evaluations: Iterable[Mapping[str, Any]]) -> list[RunGroup]:
    """Group evaluations by everything but the seed; copies of the same run count once."""
    runs = pd.DataFrame(map(_describe, evaluations)).fillna("")
    settings = [name for name in (*SHARED_SETTINGS, *METHOD_SETTINGS) if name in runs]
    kind = ["dataset", "label", "target", "lesions", *settings]
    groups = []
    for values, members in runs.drop_duplicates([*kind, "identity"]).groupby(kind, sort=False):
        dataset, label, target, lesions, *texts = values
        known = {name: text for name, text in zip(settings, texts, strict=True) if text}
        groups.append(RunGroup(dataset, label, target or None, lesions, known, list(members["evaluation"])))
    return groups


def _describe(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation as a row of the table that `group_runs` groups."""
    settings = {**evaluation.get("training", {}), **evaluation["settings"]}
    settings |= {"truth": evaluation["truth"], "split": evaluation["split"]}
    if evaluation["label"] not in {method.label for method in METHODS.values() if method.cluster_head}:
        settings.pop("clusters", None)
    formats = SHARED_SETTINGS | METHOD_SETTINGS
    known = [name for name in formats if settings.get(name) is not None]
    return {
        "dataset": evaluation["dataset"],
        "label": evaluation["label"],
        "target": (settings.get("target") or "ellipse") if "encoder" in settings else None,
        "lesions": evaluation["lesions"],
        **{name: formats[name].format(setting_text(settings[name])) for name in known},
        "identity": evaluation.get("checkpoint", {}).get("sha256", settings.get("seed")),
        "evaluation": evaluation,
    }


def setting_text(value: Any) -> str:
    """A setting for people: 128x128 for a list, 50 mask + 1 cluster for a mapping of weights."""
    if isinstance(value, Mapping):
        return " + ".join(f"{setting_text(weight)} {name}" for name, weight in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that do not have the same value in all of ``settings``."""
    names = dict.fromkeys(name for values in settings for name in values)
    return [name for name in names if any(values.get(name) != settings[0].get(name) for values in settings)]


def comparable_groups(groups: Sequence[RunGroup]) -> list[list[RunGroup]]:
    """Blocks of groups that can be compared: networks with the same `SHARED_SETTINGS`, and baselines scored alike.

    ACoseg may have scored a few lesions less than A1 and is compared all the same.
    """
    blocks: dict[tuple[tuple[str, str], ...], list[RunGroup]] = defaultdict(list)
    networks = [group for group in groups if group.target]
    for group in groups:
        scored_alike = {network.kind for network in networks if set(group.kind) <= set(network.kind)}
        for kind in {group.kind} if group.target else scored_alike or {group.kind}:
            blocks[kind].append(group)
    return [sorted(blocks[kind], key=_place) for kind in sorted(blocks)]


def _place(group: RunGroup) -> tuple[Any, ...]:
    """Sorts the methods as in the paper, then networks trained on other masks, the baselines and the upper bound."""
    kind = 2 if group.target is None else {"ellipse": 0, "truth": 3}.get(group.target, 1)
    order = METHOD_ORDER.index(group.label) if group.label in METHOD_ORDER else len(METHOD_ORDER)
    own = [text for name, text in group.settings.items() if name in METHOD_SETTINGS]
    return kind, order, group.label.lower(), own, group.lesions


def a1_reference(group: RunGroup, block: Sequence[RunGroup]) -> RunGroup | None:
    """The A1 that a group is compared with: of the same target, or on the ellipse for an A1 or a baseline.

    Returns:
        None for that A1 itself, and where several are equally near.
    """
    target = "ellipse" if group.label == A1.label else group.target or "ellipse"
    candidates = [other for other in block if (other.label, other.target) == (A1.label, target)]
    if group in candidates:
        return None
    traits: list[Callable[[RunGroup], Any]] = [
        lambda other: other.lesions,
        lambda other: [other.settings.get(name) for name in ("lr", "batch_size", "patience")],
    ]
    for trait in traits:
        if len(candidates) > 1:
            candidates = [a1 for a1 in candidates if trait(a1) == trait(group)]
    return candidates[0] if len(candidates) == 1 else None


def common_settings(groups: Sequence[RunGroup]) -> dict[str, str]:
    """The `SHARED_SETTINGS` that are the same in all groups; a baseline counts for those it has."""
    common = {}
    for name in SHARED_SETTINGS:
        texts = {group.settings.get(name) for group in groups if group.target or name in group.settings}
        if len(texts) == 1 and (text := texts.pop()):
            common[name] = text
    return common


def full_name(group: RunGroup, groups: Sequence[RunGroup]) -> str:
    """A group's name, and its settings where those of the dataset's other groups are different."""
    same_dataset = [other for other in groups if other.dataset == group.dataset]
    same_method = [other.settings for other in same_dataset if other.label == group.label]
    differing = SHARED_SETTINGS.keys() - common_settings(same_dataset).keys()
    differing |= METHOD_SETTINGS.keys() & set(differing_settings(same_method))
    return ", ".join([group.name, *(text for name, text in group.settings.items() if name in differing)])
