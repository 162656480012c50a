"""The arrays on disk: written once, mapped many times.

`<data folder>/prepared/` holds, row i always being the same lesion:

    images.npy    (N, 120, 120, 3) uint8 or float32   intensities 0..255 in the channel order that is fed
    ellipse.npy   (N, 120, 120) uint8 0/1             the approximate target
    grabcut.npy   (N, 120, 120) uint8 0/1             the GrabCut target (absent with --no-grabcut)
    truth.npy     (N, 120, 120) uint8 0/1             the test truth (absent where nobody drew one)
    recist.npy    (N, 5) float32                      cx, cy, width, height in px of the patch, angle in degrees
    lesions.csv   lesion, split, cluster, source, and whatever else the dataset knows
    dropped.csv   lesion, reason: nothing leaves the set without a line here
    prepared.json format, dataset, protocol, K, seed, settings, versions, counts; its presence means the folder is whole
"""

import fcntl
import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import cv2
import numpy as np

from common.errors import UserError
from common.files import atomic_path, read_csv, read_json, write_csv, write_json
from common.progress import progress
from common.recipe import Dataset, Protocol
from common.recist import Ellipse, shape_clusters

FORMAT = 1
SPLITS = ("train", "val", "test")

Job = TypeVar("Job")


@dataclass(frozen=True)
class Lesion:
    """One lesion as a dataset's script yields it: 120x120 arrays, and what the dataset knows of it."""

    name: str
    image: np.ndarray
    """(120, 120, 3) uint8 or float32, 0..255."""
    ellipse: np.ndarray
    """(120, 120) uint8 0/1."""
    recist: Ellipse
    """In px of the patch."""
    grabcut: np.ndarray | None = None
    truth: np.ndarray | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    """More cells of `lesions.csv`; "source" tells where the lesion came from."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of one row, by file name, without those the lesion lacks."""
        rows = {
            "images": self.image,
            "ellipse": self.ellipse,
            "grabcut": self.grabcut,
            "truth": self.truth,
            "recist": np.array(self.recist, np.float32),
        }
        return {name: row for name, row in rows.items() if row is not None}


@dataclass(frozen=True)
class Dropped:
    """A lesion that can't be used, and why."""

    lesion: str
    reason: str


Outcome = Lesion | Dropped


@dataclass(frozen=True)
class Request:
    """What a prepared folder is to be made from, and how. Two equal requests give equal arrays."""

    dataset: Dataset
    protocol: Protocol
    clusters: int
    seed: int
    inputs: str
    """Fingerprint of the input files (`files.fingerprint`)."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The dataset's own settings that change the arrays."""

    def describe(self) -> dict[str, Any]:
        """The request as it stands in `prepared.json`."""
        return {
            "format": FORMAT,
            "dataset": self.dataset.name,
            "protocol": self.protocol,
            "clusters": self.clusters,
            "seed": self.seed,
            "settings": dict(self.settings),
            "inputs": self.inputs,
        }


def prepare(
    request: Request,
    folder: Path,
    jobs: Sequence[Job],
    work: Callable[[Job], list[Outcome]],
    split: Callable[[list[dict[str, Any]]], list[str]],
    *,
    dropped: Iterable[Dropped] = (),
    force: bool = False,
    workers: int | None = None,
    unit: str = "lesion",
) -> None:
    """Make a prepared folder, on all cores, or say that it is there already.

    Args:
        request: the settings; compared with those of a folder that is there.
        folder: the folder to make; replaced as a whole when everything has succeeded, else left as it was.
        jobs: what to work through, in the order of the rows to come.
        work: makes the lesions of one job, in another process; must be picklable.
        split: given the rows of `lesions.csv`, names each row's split.
        dropped: lesions that were lost before any job was made.
        force: make the folder anew even if it is there.
        workers: processes; None means one for each core.
        unit: what a job is, for the progress display.

    Raises:
        UserError: from ``work`` or ``split``; no usable lesion; fewer lesions than clusters.
    """
    with _alone(folder):
        found = _found(folder)
        if found is not None and not force:
            if {key: found.get(key) for key in request.describe()} == request.describe():
                print(
                    f"{folder} is already prepared with these inputs and settings ({_counts(found)}); --force redoes it"
                )
                return
            print(f"{folder} was made from other inputs or settings; making it again")
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            rows, lost = [], list(dropped)
            with _ArrayWriter(temporary) as writer:
                outcomes = parallel_map(work, jobs, workers)
                for outcome in _flatten(progress(outcomes, f"preparing {request.dataset.name}", len(jobs), unit)):
                    if isinstance(outcome, Dropped):
                        lost.append(outcome)
                    else:
                        writer.append(outcome.arrays())
                        rows.append({"lesion": outcome.name, **outcome.info})
            content = _finish(request, temporary, rows, lost, split)
        print(f"{folder}: {_counts(content)}")


def _finish(
    request: Request,
    folder: Path,
    rows: list[dict[str, Any]],
    lost: list[Dropped],
    split: Callable[[list[dict[str, Any]]], list[str]],
) -> dict[str, Any]:
    """Splits, clusters and the three tables, once all arrays are written."""
    reasons = Counter(item.reason for item in lost)
    if not rows:
        why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3)) or "no input files"
        raise UserError(f"no usable {request.dataset.name} lesion: {why}")
    splits = split(rows)
    recist = np.load(folder / "recist.npy")
    # Clusters are fitted on validation and test lesions too (FACTS.md 4.6; mended under `corrected`).
    fit_on = np.array([name == "train" for name in splits]) if request.protocol == "corrected" else None
    clusters = shape_clusters(recist, request.clusters, request.seed, fit_on)
    for row, name, cluster in zip(rows, splits, clusters, strict=True):
        row.update(split=name, cluster=int(cluster))
    first = ["lesion", "split", "cluster", "source"]
    more = [key for key in rows[0] if key not in first]
    write_csv(folder / "lesions.csv", rows, first + more)
    write_csv(folder / "dropped.csv", (vars(item) for item in lost), ["lesion", "reason"])
    content = {
        **request.describe(),
        "lesions": len(rows),
        "splits": {name: splits.count(name) for name in SPLITS},
        "dropped": dict(reasons),
        "arrays": sorted(path.stem for path in folder.glob("*.npy")),
        "versions": {
            "python": sys.version.split()[0],
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "scikit-learn": version("scikit-learn"),
        },
    }
    write_json(folder / "prepared.json", content)
    return content


def _counts(content: Mapping[str, Any]) -> str:
    splits = ", ".join(f"{count} {name}" for name, count in content["splits"].items())
    text = f"{content['lesions']} lesions: {splits}"
    if content["dropped"]:
        text += "; dropped " + ", ".join(f"{count} ({reason})" for reason, count in content["dropped"].items())
    return text


def _found(folder: Path) -> dict[str, Any] | None:
    path = folder / "prepared.json"
    return read_json(path) if path.is_file() else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time prepare ``folder``; the others wait, and say so."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process is preparing {folder}; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _ArrayWriter:
    """Appends rows to .npy files whose length is not known beforehand, holding none of them in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._headers: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        if not self._files:
            for name, row in arrays.items():
                self._headers[name] = (row.shape, row.dtype)
                self._files[name] = (self._folder / f"{name}.npy").open("wb")
                self._write_header(name)
        for name, (shape, dtype) in self._headers.items():
            row = arrays[name]
            if (row.shape, row.dtype) != (shape, dtype):
                raise ValueError(f"{name}: row of {row.shape} {row.dtype} among rows of {shape} {dtype}")
            self._files[name].write(np.ascontiguousarray(row).tobytes())
        self._rows += 1

    def _write_header(self, name: str) -> None:
        # NumPy pads the header so that the first axis can grow without moving the data.
        shape, dtype = self._headers[name]
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (self._rows, *shape),
        }
        self._files[name].seek(0)
        np.lib.format.write_array_header_1_0(self._files[name], header)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, file in self._files.items():
            if kind is None:
                self._write_header(name)
            file.close()


def parallel_map(
    work: Callable[[Job], list[Outcome]], jobs: Sequence[Job], workers: int | None = None
) -> Iterator[list[Outcome]]:
    """``work`` over ``jobs`` in processes, in order, with a bounded number of results waiting."""
    workers = min(workers or os.cpu_count() or 1, max(len(jobs), 1))
    if workers == 1:
        yield from map(work, jobs)
        return
    # Spawned, not forked: safe whatever threads the parent has started.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        queue = iter(jobs)
        waiting: deque[Future[list[Outcome]]] = deque(pool.submit(work, job) for job in islice(queue, 8 * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, job) for job in islice(queue, 1))
        finally:
            for future in waiting:
                future.cancel()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    cv2.setNumThreads(1)  # the processes are the parallelism


def _flatten(outcomes: Iterable[list[Outcome]]) -> Iterator[Outcome]:
    for outcome in outcomes:
        yield from outcome


@dataclass(frozen=True)
class Prepared:
    """A prepared folder, opened: arrays are mapped, not read."""

    folder: Path
    content: Mapping[str, Any]
    lesions: list[dict[str, str]]

    @classmethod
    def open(cls, folder: Path, dataset: Dataset, protocol: Protocol, clusters: int | None = None) -> Self:
        """Open ``folder``, checking that it is what a recipe needs.

        Args:
            folder: `<data folder>/prepared`.
            dataset: whose lesions they must be.
            protocol: under which they must have been made.
            clusters: the K they must have; None where the recipe has no use for clusters.

        Raises:
            UserError: missing, damaged, or made with other settings; names the command that mends it.
        """
        content = _found(folder)
        command = dataset.prepare_command
        if content is None:
            raise UserError(f"{folder} is missing or unfinished; run {command} first")
        wanted = {"format": FORMAT, "dataset": dataset.name, "protocol": protocol}
        if clusters is not None:
            wanted["clusters"] = clusters
        for key, value in wanted.items():
            if content.get(key) != value:
                raise UserError(
                    f"{folder} was made with {key} {content.get(key)}, but {value} is asked for; "
                    f"run {command} --protocol {protocol}" + (f" --clusters {clusters}" if clusters else "")
                )
        lesions = read_csv(folder / "lesions.csv")
        if len(lesions) != content["lesions"]:
            raise UserError(
                f"{folder / 'lesions.csv'} has {len(lesions)} rows, not {content['lesions']}; run {command} --force"
            )
        return cls(folder, content, lesions)

    def array(self, name: str) -> np.ndarray:
        """Map `<name>.npy` read-only.

        Raises:
            UserError: this folder has no such array, or it is damaged.
        """
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            raise UserError(f"{path} does not exist: this folder was prepared without it")
        try:
            array = np.load(path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise UserError(f"{path} is damaged; prepare the folder again with --force") from error
        if len(array) != len(self.lesions):
            raise UserError(
                f"{path} holds {len(array)} rows, not {len(self.lesions)}; prepare the folder again with --force"
            )
        return array

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
            raise UserError(f"{self.folder} has no lesions in the split {split}")
        return np.array(rows)
