"""How training grows with the number of lesions: seconds of an epoch, seconds until the first step, memory.

    python common/growth.py ham --prepared DIR --epochs 100 1000 10000
    python common/growth.py deeplesion --prepared DIR --starts 100 32735

The prepared folder's few lesions are repeated as often as need be. Every measurement has a process of its own. Memory
is told as Linux counts it: the process's own pages, and mapped pages of the arrays, which Linux takes back whenever
something else needs the room. Prints a table and writes growth.json to --out.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.benchmark.ours import clock, lesion_batches, make_trainer
from common.benchmark.runner import BenchmarkConfig, resident, run_in_subprocess
from common.benchmark.speed import machine
from common.data.dataset import LesionDataset
from common.patches import SMALL_CANVAS, parse_canvas
from common.recipe import A1CLASS
from common.report.tables import pipes
from common.run.discover import find_folder
from common.utils.arguments import Parser, positive
from common.utils.files import write_csv, write_json

_CHUNK = 256
_STEPS = 5


class Start(NamedTuple):
    """The beginning of a training, and memory."""

    seconds: float
    """From before the process was started until the first step was done."""
    own: int
    """Bytes that are the process's own, after a few steps and once all lesions have been served."""
    mapped: int
    """Bytes of files that it has mapped: libraries, and what Linux still keeps of the arrays."""


def repeat_lesions(prepared: LesionDataset, folder: Path, lesions: int) -> LesionDataset:
    """Write a prepared folder of ``lesions`` lesions, those of another one over and over again."""
    folder.mkdir(parents=True)
    for name in prepared.metadata["arrays"]:
        few = prepared.array(name)
        shape = (lesions, *few.shape[1:])
        many = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", few.dtype, shape)
        for start in range(0, lesions, _CHUNK):
            many[start : start + _CHUNK] = few[np.arange(start, min(start + _CHUNK, lesions)) % len(few)]
        many.flush()
    rows = [prepared.lesions[number % len(prepared.lesions)] | {"lesion": f"{number}"} for number in range(lesions)]
    write_csv(folder / "lesions.csv", rows, list(rows[0]))
    write_json(folder / "prepared.json", {**prepared.metadata, "lesions": lesions})
    return LesionDataset.open(folder)


def epoch(setup: BenchmarkConfig) -> float:
    """Seconds of an epoch over all lesions."""
    from common.training.trainer import TrainState

    trainer, lesions = make_trainer(setup), lesion_batches(setup)
    order = np.random.default_rng(0).permutation(len(lesions))
    trainer.train_epoch(islice(lesions.batches(trainer.recipe.batch_size), 1), TrainState(), lambda: False)
    start = clock(trainer.device)
    trainer.train_epoch(lesions.batches(trainer.recipe.batch_size, order, "merge"), TrainState(), lambda: False)
    return clock(trainer.device) - start


def start(setup: BenchmarkConfig, began: float) -> Start:
    """A training that began at the ``time.time()`` ``began``: its first steps, then all batches without the network."""
    trainer, lesions = make_trainer(setup), lesion_batches(setup)
    order = np.random.default_rng(0).permutation(len(lesions))
    batches = lesions.batches(trainer.recipe.batch_size, order, "merge")
    trainer.step((next(batches),))
    clock(trainer.device)
    seconds = time.time() - began
    for batch in islice(batches, _STEPS):
        trainer.step((batch,))
    for _ in batches:
        pass
    return Start(seconds, resident("RssAnon"), resident("RssFile"))


@contextmanager
def _grown(setup: BenchmarkConfig, lesions: int) -> Iterator[BenchmarkConfig]:
    """The setup with its lesions repeated, as long as the block lasts."""
    folder = setup.scratch / str(lesions)
    repeat_lesions(LesionDataset.open(setup.prepared), folder, lesions)
    try:
        yield replace(setup, prepared=folder, lesions=lesions)
    finally:
        shutil.rmtree(folder)


def measure_epochs(setup: BenchmarkConfig, numbers: Sequence[int]) -> list[dict[str, float]]:
    """Seconds of an epoch over each number of lesions."""
    rows = []
    for lesions in numbers:
        with _grown(setup, lesions) as grown:
            seconds = run_in_subprocess("growth:epoch", grown).work
        rows.append({"lesions": lesions, "seconds": seconds, "milliseconds_a_lesion": 1e3 * seconds / lesions})
        print(f"{lesions} lesions: {seconds:.1f} s", file=sys.stderr, flush=True)
    return rows


def measure_starts(setup: BenchmarkConfig, numbers: Sequence[int]) -> list[dict[str, float]]:
    """The beginning of a training on each number of lesions; GiB of memory once all have been served."""
    rows = []
    for lesions in numbers:
        with _grown(setup, lesions) as grown:
            begun: Start = run_in_subprocess("growth:start", grown, time.time()).work
        own, mapped = begun.own / 2**30, begun.mapped / 2**30
        rows.append({"lesions": lesions, "seconds": begun.seconds, "own_GiB": own, "mapped_GiB": mapped})
    return rows


def tell(rows: Sequence[dict[str, float]]) -> str:
    """Measurements as a Markdown table."""
    return pipes(
        [name.replace("_", " ") for name in rows[0]], [[f"{value:,.5g}" for value in row.values()] for row in rows]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("dataset", help="ham, lits, deeplesion, or a folder of scripts")
    add("--prepared", type=Path, required=True, metavar="DIR", help="a prepared folder of the dataset")
    add("--epochs", type=positive, nargs="*", default=[], metavar="N", help="lesions of the epochs that are timed")
    add("--starts", type=positive, nargs="*", default=[], metavar="N", help="lesions of the trainings that are begun")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="of growth.json (default bench)")
    add("--encoder", default="resnet18", metavar="NAME", help="default resnet18")
    add("--canvas", type=parse_canvas, default=SMALL_CANVAS, metavar="HxW", help="default 128x128")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        setup = BenchmarkConfig(
            folder=find_folder(args.dataset),
            method=A1CLASS.name,
            data=args.prepared.parent,
            prepared=args.prepared,
            scratch=Path(scratch),
            encoder=args.encoder,
            canvas=args.canvas,
            steps=_STEPS,
            lesions=1,
            device=args.device,
        )
        measured = {"epochs": measure_epochs(setup, args.epochs), "starts": measure_starts(setup, args.starts)}
    print("\n".join(tell(rows) for rows in measured.values() if rows), end="")
    write_json(args.out / "growth.json", {**measured, "machine": machine()})
