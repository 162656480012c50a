"""Make a prepared folder on all cores, completely or not at all, with a record of every lesion that is dropped."""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from common.data.arrays import ArrayWriter
from common.data.dataset import ARRAYS, FORMAT, MASK, SPLITS, describe_empty
from common.data.folder import check_replaceable, describe_counts, exclusive, is_current
from common.data.lesion import Dropped, Outcome, Unreadable
from common.patches import PATCH
from common.recipe import DatasetInfo, Protocol
from common.recist import shape_clusters
from common.utils.errors import UserError, explain, join_names
from common.utils.files import atomic_path, check_writable, write_csv, write_json
from common.utils.parallel import Job, parallel_map
from common.utils.progress import progress
from common.utils.provenance import fingerprint, package_versions
from common.weak_masks import QUARTERS_SCALE, quarters_mask


@dataclass(frozen=True)
class PreprocessConfig:
    """What a prepared folder is made from, and how. Equal configurations give equal arrays."""

    dataset: DatasetInfo
    protocol: Protocol
    clusters: int
    seed: int
    preprocessing: Mapping[str, Any]
    """What a network trained on the arrays depends on: "channels" of `images.npy` ("bgr", "rgb", or "slices": previous,
    key, next), and whatever else the dataset lets a user choose, such as the "window" in HU."""
    settings: Mapping[str, Any]  # others that change the arrays
    inputs: str  # fingerprint of the input files (`provenance.fingerprint`)

    @classmethod
    def from_args(
        cls,
        dataset: DatasetInfo,
        args: argparse.Namespace,
        files: Iterable[Path],
        preprocessing: Mapping[str, Any],
        **settings: Any,
    ) -> Self:
        """The configuration of a command line (`cli.prepare_parser`) over the input ``files``."""
        inputs = fingerprint(files, args.data)
        settings |= {"grabcut": args.grabcut, "quarters_scale": args.quarters_scale}
        return cls(dataset, args.protocol, args.clusters, args.seed, preprocessing, settings, inputs)

    def describe(self) -> dict[str, Any]:
        """The configuration as it stands in `prepared.json`; messages name the first field that differs."""
        return {"format": FORMAT, **vars(self), "dataset": self.dataset.name}


def preprocess(
    config: PreprocessConfig,
    folder: Path,
    jobs: Sequence[Job],
    make_lesions: Callable[[Job], list[Outcome]],
    assign_splits: Callable[[list[dict[str, Any]]], list[str]],
    *,
    dropped: Iterable[Dropped] = (),
    force: bool = False,
    refresh: bool = False,
    skip_bad: bool = False,
    workers: int | None = None,
    unit: str = "lesion",
) -> None:
    """Make a prepared folder, on all cores, or say that it is there already.

    Args:
        config: compared with that of a folder that is there.
        folder: the folder to make; replaced as a whole when everything has succeeded, else left as it was.
        jobs: what to work through, in the order of the rows to come.
        make_lesions: makes the lesions of one job, in another process; must be picklable.
        assign_splits: given the rows of `lesions.csv`, names each row's split; may add to each row an "order", the
            lesion's position in the published list of its split.
        dropped: lesions that were lost before any job was made.
        force: make the folder anew even if it is there.
        refresh: make an existing folder anew only if the inputs have changed; then its settings must match ``config``.
        skip_bad: go on without lesions whose files are unreadable.
        workers: processes; None means one for each core.
        unit: what a job is, for the progress display.

    Raises:
        UserError: from ``make_lesions`` or ``assign_splits``; unreadable files, once all of them are listed; no usable
            lesion; fewer lesions than clusters; ``folder`` can't be written to, or holds something else.
    """
    check_writable(folder.parent, "pass another --prepared")
    with exclusive(folder):
        check_replaceable(folder)
        if not force and is_current(folder, config.describe(), refresh):
            return
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            outcomes = parallel_map(make_lesions, jobs, workers)
            outcomes = progress(outcomes, f"preparing {config.dataset.name}", len(jobs), unit)
            rows, lost, digest = _write_arrays(config, temporary, chain.from_iterable(outcomes))
            all_dropped = [*dropped, *lost]
            _stop_at_unreadable(all_dropped, skip_bad)
            metadata = _write_tables(config, temporary, rows, all_dropped, assign_splits, digest)
        print(f"{folder}: {describe_counts(metadata)}")
        if empty := [name for name, count in metadata["splits"].items() if not count]:
            print(f"warning: {describe_empty(empty)}", file=sys.stderr)
        if (truth := config.dataset.truth) not in metadata["arrays"]:
            print(f"warning: there is no {truth}.npy to score against; evaluations need --truth", file=sys.stderr)


def _write_arrays(
    config: PreprocessConfig, folder: Path, outcomes: Iterable[Outcome]
) -> tuple[list[dict[str, Any]], list[Dropped], hashlib.blake2b]:
    """Write the lesions' arrays and print their notes; their rows of `lesions.csv`, what was dropped, and a digest."""
    rows: list[dict[str, Any]] = []
    dropped: list[Dropped] = []
    notes: dict[str, list[str]] = {}
    names: set[str] = set()
    scale = config.settings.get("quarters_scale", QUARTERS_SCALE)
    with ArrayWriter(folder) as writer:
        for outcome in outcomes:
            if isinstance(outcome, Dropped):
                dropped.append(outcome)
                continue
            quarters = quarters_mask(outcome.ends, (PATCH, PATCH), scale)
            arrays = outcome.arrays() | {"quarters": quarters}
            _check_arrays(outcome.name, arrays)
            if outcome.name in names:
                raise UserError(f"two lesions are called {outcome.name}; give each a name of its own")
            names.add(outcome.name)
            writer.append(arrays)
            rows.append({"lesion": outcome.name, "group": outcome.group, **outcome.info})
            for note in outcome.notes:
                notes.setdefault(note, []).append(outcome.name)
    for note, lesions in notes.items():
        print(f"{join_names(lesions)}: {note}", file=sys.stderr)
    return rows, dropped, writer.digest


def _check_arrays(lesion: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise UserError where a dataset's script made arrays that can't be trained on or scored."""
    for name, array in arrays.items():
        shape, kinds = ARRAYS[name]
        if array.shape != shape or array.dtype.kind not in kinds:
            wanted = "uint8" if kinds == "u" else "uint8 or float32" if "u" in kinds else "float32"
            raise UserError(f"{name} of {lesion} is {array.dtype} of {array.shape}; it must be {wanted} of {shape}")
        if ARRAYS[name] == MASK and array.max() > 1:
            raise UserError(f"{name} of {lesion} holds the number {array.max()}; a mask holds 0 and 1")


def or_unreadable(job: Any, make: Callable[..., list[Outcome]], **settings: Any) -> list[Outcome]:
    """Return ``make(job)``, or an `Unreadable` named `job.name` where a file of the job can't be used."""
    try:
        return make(job, **settings)
    except (UserError, OSError) as error:
        return [Unreadable(job.name, explain(error) or str(error))]


def _stop_at_unreadable(dropped: Iterable[Dropped], skip_bad: bool) -> None:
    """List all unreadable files, and stop unless they are to be left out."""
    sentences = list(dict.fromkeys(item.reason for item in dropped if isinstance(item, Unreadable)))
    if sentences and (skip_bad or len(sentences) > 1):
        print(*sentences, sep="\n", file=sys.stderr)
    if not sentences or skip_bad:
        return
    if len(sentences) == 1:
        raise UserError(f"{sentences[0]} (or pass --skip-bad to go on without it)")
    raise UserError(
        f"{len(sentences)} files can't be used, as listed above; mend them, or pass --skip-bad to go on without them"
    )


def _check_splits(rows: Sequence[Mapping[str, Any]], splits: Sequence[str]) -> None:
    """Refuse names that are no split's; say which groups are in several splits."""
    if len(splits) != len(rows) or not set(splits) <= set(SPLITS):
        raise UserError(f"the split must name {', '.join(SPLITS[:-1])} or {SPLITS[-1]} for each of {len(rows)} lesions")
    own: dict[str, set[str]] = {}
    for row, split in zip(rows, splits, strict=True):
        own.setdefault(row["group"], set()).add(split)
    if parted := [group for group, names in own.items() if len(names) > 1]:
        print(
            f"warning: {join_names(parted)} in more than one split, so that a network is scored on what it was trained "
            "on; put each patient, volume or lesion into one",
            file=sys.stderr,
        )


def _write_tables(
    config: PreprocessConfig,
    folder: Path,
    rows: list[dict[str, Any]],
    dropped: list[Dropped],
    assign_splits: Callable[[list[dict[str, Any]]], list[str]],
    digest: hashlib.blake2b,
) -> dict[str, Any]:
    """Assign splits and clusters and write the three tables, `prepared.json` last; returns its content."""
    reasons = Counter("unreadable" if isinstance(item, Unreadable) else item.reason for item in dropped)
    if not rows:
        why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3)) or "no input files"
        raise UserError(f"no usable {config.dataset.name} lesion: {why}; look into the data folder, or pass --data DIR")
    splits = list(map(str, assign_splits(rows)))
    _check_splits(rows, splits)
    # Clusters are fitted on validation and test lesions too (FACTS.md 4.6; mended under `corrected`).
    fit_on = np.array([split == "train" for split in splits]) if config.protocol == "corrected" else None
    clusters = shape_clusters(np.load(folder / "recist.npy"), config.clusters, config.seed, fit_on)
    for row, split, cluster in zip(rows, splits, clusters, strict=True):
        row.update(split=split, cluster=int(cluster))
    first = ["lesion", "split", "group", "cluster", "source"]
    write_csv(folder / "lesions.csv", rows, list(dict.fromkeys(first + [name for row in rows for name in row])))
    write_csv(folder / "dropped.csv", (vars(item) for item in dropped), ["lesion", "reason"])
    settings = config.describe()
    content = {name: value for name, value in settings.items() if name != "inputs"}  # it changes with every copy
    digest.update(json.dumps(content, sort_keys=True).encode() + (folder / "lesions.csv").read_bytes())
    metadata = {
        **settings,
        "identity": digest.hexdigest(),
        "lesions": len(rows),
        "splits": {name: splits.count(name) for name in SPLITS},
        "dropped": dict(reasons),
        "arrays": sorted(path.stem for path in folder.glob("*.npy")),
        "versions": package_versions("numpy", "opencv-python", "scikit-learn"),
    }
    write_json(folder / "prepared.json", metadata)
    return metadata
