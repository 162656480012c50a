"""Runs grouped into the rows of the results table, and the groups that can be compared with each other.

Runs that differ in the seed only form a group. Groups are comparable when network, images and scoring are the same
(`SHARED_SETTINGS`); learning rate, K and the like (`METHOD_SETTINGS`) may be a method's own. Options that
differ from the method's defaults (`VARIATIONS`) are part of a group's name.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.metrics import FRACTIONS
from common.recipe import A1, A1CLASS, ACOSEG, METHODS, PLAIN, default_target
from common.utils.errors import UserError

METHOD_ORDER = (A1.label, ACOSEG.label, A1CLASS.label)  # as in the paper's table
SHARED_SETTINGS = {
    "encoder": "{}",
    "encoder_weights": "encoder weights {}",
    "canvas": "{}",
    "epochs": "epochs {}",
    "protocol": "{}",
    "precision": "{}",
    "tta": "test-time augmentation",
    "limit": "limit {}",
    "window": "window {}",
    "truth": "against {}",
    "truth_masks": "masks {:.8}",
    "split": "{} split",
    "prompt_noise": "marks moved by {} %",
    "noise_seed": "noise seed {}",
    "seen_in_training": "{} lesions seen in training",
    "prepared": "data {:.8}",
    "trained": "trained with {}",
}  # that comparable groups have in common, and how they are written
SCORING_SETTINGS = ("protocol", "limit", "truth", "truth_masks", "split", "prepared", "prompt_noise", "noise_seed")
"""Settings in which a baseline must agree with the networks."""
METHOD_SETTINGS = {
    "lr": "lr {}",
    "batch_size": "batch {}",
    "patience": "patience {}",
    "loss_weights": "loss {}",
    "clusters": "K {}",
    "checkpoint": "checkpoint {:.8}",
}  # in which comparable groups may differ, as the methods' recipes do
VARIATIONS = {
    "prompt": "prompt {}",
    "outlines": "{} outlines",
    "flips": "flips",
    "jitter": "jitter {}",
    "average": "average {}",
    "falling": "falling rate",
}  # `recipe.PLAIN`, written where a training differs from its method's own
_OF_EVALUATION = ("truth", "truth_masks", "split", "prepared")  # settings that stand beside the others
_METHODS = {method.label: method for method in METHODS.values()}


@dataclass(frozen=True, eq=False)
class RunGroup:
    """Runs of one method that differ in the seed only, or a baseline."""

    dataset: str
    label: str
    target: str | None  # the mask that the network was trained on; None for a baseline
    lesions: int  # how many were scored
    settings: Mapping[str, str]  # `SHARED_SETTINGS`, `METHOD_SETTINGS` and `VARIATIONS` as text, where they are known
    runs: Sequence[Mapping[str, Any]]  # evaluations, as `read_evaluation` returns them

    @property
    def default_target(self) -> str:
        """The mask that the method or else the protocol trains on unless told otherwise."""
        return default_target(self.settings.get("protocol"), _METHODS.get(self.label))

    @property
    def variations(self) -> tuple[str, ...]:
        """The `VARIATIONS` as text."""
        return tuple(text for name, text in self.settings.items() if name in VARIATIONS)

    @property
    def name(self) -> str:
        """The method, its target unless that is the default, and its variations."""
        target = "" if self.target in (None, self.default_target) else f" trained on {self.target}"
        return ", ".join([self.label + target, *self.variations])

    @property
    def competes(self) -> bool:
        """Whether this is one of the methods compared, neither a baseline nor the upper bound."""
        return self.target not in (None, "truth")

    def differences(self, other: "RunGroup") -> set[str]:
        """The names of what two groups do not have in common."""
        own, its = (
            {**group.settings, "dataset": group.dataset, "method": group.label, "target": group.target or ""}
            for group in (self, other)
        )
        return {name for name in own.keys() | its.keys() if own.get(name) != its.get(name)}

    @property
    def kind(self) -> tuple[tuple[str, str], ...]:
        """What comparable groups have in common: the dataset and the `SHARED_SETTINGS`."""
        return ("dataset", self.dataset), *(item for item in self.settings.items() if item[0] in SHARED_SETTINGS)

    @property
    def scoring(self) -> tuple[str | None, ...]:
        """What groups that were scored alike have in common: the dataset and the `SCORING_SETTINGS`."""
        return self.dataset, *(self.settings.get(name) for name in SCORING_SETTINGS)

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """Sorts methods as in the paper, then networks trained on other masks, the baselines and the upper bound."""
        kind = 2 if self.target is None else {self.default_target: 0, "truth": 3}.get(self.target, 1)
        order = METHOD_ORDER.index(self.label) if self.label in METHOD_ORDER else len(METHOD_ORDER)
        own = [text for name, text in self.settings.items() if name in METHOD_SETTINGS]
        return kind, order, self.label.lower(), self.variations, own, self.lesions

    def values(self, metric: str) -> np.ndarray:
        """(runs,) values as the paper prints them: per cent or px, NaN where undefined."""
        return np.array([run[metric] for run in self.runs], float) * (100 if metric in FRACTIONS else 1)

    def mean(self, metric: str) -> float:
        """Mean over runs; NaN where a run leaves the metric undefined."""
        return float(self.values(metric).mean())

    def spread(self, metric: str) -> float:
        """Sample standard deviation over runs; NaN for a single run."""
        return float(self.values(metric).std(ddof=1)) if len(self.runs) > 1 else np.nan

    def text(self, metric: str) -> str:
        """Mean ± spread; the mean alone where there is no spread."""
        mean, spread = self.mean(metric), self.spread(metric)
        return f"{mean:.2f}" if np.isnan(spread) else f"{mean:.2f}±{spread:.2f}"


def group_runs(evaluations: Iterable[Mapping[str, Any]]) -> list[RunGroup]:
    """Group evaluations by everything but the seed; copies of the same run count once.

    Raises:
        UserError: two runs of a group have the same seed, so they don't sample the randomness of training.
    """
    groups: dict[tuple[Any, ...], dict[Any, Mapping[str, Any]]] = defaultdict(dict)
    for evaluation in evaluations:
        twin = groups[_describe(evaluation)].setdefault(evaluation["settings"].get("seed"), evaluation)
        if twin.get("checkpoint", {}).get("sha256") != evaluation.get("checkpoint", {}).get("sha256"):
            raise UserError(
                f"{twin['path']} and {evaluation['path']} are evaluations of different checkpoints with the same "
                "settings and seed; remove one of them"
            )
    return [
        RunGroup(dataset, label, target, lesions, dict(settings), list(runs.values()))
        for (dataset, label, target, lesions, settings, _), runs in groups.items()
    ]


def _describe(evaluation: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the runs of a group have in common: a `RunGroup`'s fields, settings in pairs, and which lesions were scored.

    Where the training's settings are not the scoring's, they are one more setting, "trained".
    """
    training = evaluation.get("training", {})
    scoring = evaluation["settings"] | {name: evaluation.get(name) for name in _OF_EVALUATION}
    trained = {name: value for name, value in training.items() if name in SHARED_SETTINGS and name in scoring}
    texts = [_text(name, value) for name, value in trained.items() if value != scoring[name]]
    settings = training | scoring | {"trained": ", ".join(texts) or None}
    if evaluation["split"] == "test":  # of the others that goes without saying
        settings["seen_in_training"] = evaluation.get("seen_in_training") or None
    if training.get("least_steps"):  # the number of epochs follows from that of lesions
        settings["epochs"] = f"of the recipe, at least {training['least_steps']} steps"
    if not training.get("complete", True):
        settings["epochs"] = f"{settings['epochs']}, not completed"
    if settings.get("seed") is None:  # a checkpoint that says nothing of its training may differ in more than the seed
        settings["checkpoint"] = evaluation.get("checkpoint", {}).get("sha256")
    if evaluation["label"] not in {method.label for method in METHODS.values() if method.cluster_head}:
        settings["clusters"] = None
    names = [name for name in (*SHARED_SETTINGS, *METHOD_SETTINGS) if settings.get(name) is not None]
    varied = variations(evaluation["label"], training) if training else {}
    target = (settings.get("target") or "ellipse") if "encoder" in settings else None
    pairs = (*((name, _text(name, settings[name])) for name in names), *varied.items())
    return evaluation["dataset"], evaluation["label"], target, evaluation["lesions"], pairs, evaluation.get("scored")


def variations(label: str, training: Mapping[str, Any]) -> dict[str, str]:
    """In which of the `VARIATIONS` a training differs from those of its method, as text."""
    method, settings = _METHODS.get(label), {**PLAIN, **training}
    usual = {**PLAIN, **(method.flags if method else {})}
    return {name: _text(name, settings[name]) for name in VARIATIONS if settings[name] != usual[name]}


def _text(name: str, value: Any) -> str:
    format_ = (SHARED_SETTINGS | METHOD_SETTINGS | VARIATIONS)[name]
    if value is False:
        return f"no {format_}"
    text = setting_text(value).replace("x", ",") if name == "window" else setting_text(value)
    return f"no {name}" if value is None else format_.format(text)


def setting_text(value: Any) -> str:
    """A setting for people: 128x128 for a list, 50 mask + 1 cluster for a mapping of weights."""
    if isinstance(value, Mapping):
        return " + ".join(f"{setting_text(weight)} {name}" for name, weight in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def comparable_groups(groups: Sequence[RunGroup]) -> list[list[RunGroup]]:
    """Blocks of groups that can be compared: networks with the same `SHARED_SETTINGS`, and baselines scored alike.

    ACoseg may have scored a few lesions less than A1 and is compared all the same.
    """
    blocks: dict[tuple[tuple[str, str], ...], list[RunGroup]] = defaultdict(list)
    for group in groups:
        scored_alike = {other.kind for other in groups if other.target and other.scoring == group.scoring}
        for kind in {group.kind} if group.target else scored_alike or {group.kind}:
            blocks[kind].append(group)
    return [sorted(blocks[kind], key=lambda group: group.sort_key) for kind in sorted(blocks)]


def a1_reference(group: RunGroup, block: Sequence[RunGroup]) -> RunGroup | None:
    """The A1 that a group is compared with: of the same target or, if the group has its default, of the protocol's.

    An A1 or a baseline is compared with the protocol's. Ties are broken by equal variations, then an equal
    number of lesions, then an equal recipe.

    Returns:
        None for that A1 itself, and where several are equally near.
    """

    def distance(a1: RunGroup) -> tuple[bool, bool, bool]:
        other_recipe = any(
            a1.settings.get(name) != group.settings.get(name) for name in ("lr", "batch_size", "patience")
        )
        return a1.variations != group.variations, a1.lesions != group.lesions, other_recipe

    usual = group.label == A1.label or group.target in (None, group.default_target)
    target = default_target(group.settings.get("protocol")) if usual else group.target
    varied = [(), group.variations] if group.label != A1.label else [()]
    a1s = [other for other in block if (other.label, other.target) == (A1.label, target)]
    candidates = [a1 for a1 in a1s if a1.variations in varied]
    nearest = [a1 for a1 in candidates if distance(a1) == min(map(distance, candidates))]
    return nearest[0] if len(nearest) == 1 and group not in candidates else None


def common_settings(groups: Sequence[RunGroup]) -> dict[str, str]:
    """The `SHARED_SETTINGS` that are the same in all groups; a baseline counts for those it has, and of scoring."""
    common = {}
    for name in SHARED_SETTINGS:
        counted = [group for group in groups if group.target or name in group.settings or name in SCORING_SETTINGS]
        texts = {group.settings.get(name) for group in counted}
        if len(texts) == 1 and (text := texts.pop()):
            common[name] = text
    return common


def full_name(group: RunGroup, groups: Sequence[RunGroup]) -> str:
    """A group's name, and its settings where those of the dataset's other groups are different."""
    same_dataset = [other for other in groups if other.dataset == group.dataset]
    peers = [other for other in same_dataset if other.label == group.label]
    differing = SHARED_SETTINGS.keys() - common_settings(same_dataset).keys()
    differing |= {name for name in METHOD_SETTINGS if len({peer.settings.get(name) for peer in peers}) > 1}
    texts = [text for name, text in group.settings.items() if name in differing]
    as_many = [other for other in same_dataset if (other.kind, other.lesions) == (group.kind, group.lesions)]
    if len({other.runs[0].get("scored") for other in as_many}) > 1:
        texts.append(f"lesion set {group.runs[0].get('scored', 'unknown'):.8}")
    return ", ".join([group.name, *texts])
