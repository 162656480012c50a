"""How training grows with the number of lesions: seconds of an epoch, seconds until the first step, memory.

    python common/growth.py ham --prepared DIR --lesions 100 1000 10000
    python common/growth.py deeplesion --prepared DIR --start 32735

The prepared folder's few lesions are repeated as often as need be. Every measurement has a process of its own. Memory
is told as Linux counts it: the process's own pages, and mapped pages of the arrays, which Linux takes back whenever
something else needs the room. Prints a table and writes growth.json to --out.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from anywhere, from a bare clone

import numpy as np

from common.bench import machine, table
from common.bench_ours import clock, lesion_batches, make_trainer
from common.cli import canvas_size
from common.contest import Setup, run_alone
from common.discover import find_folder
from common.errors import run_script
from common.files import write_csv, write_json
from common.prepared import Prepared
from common.recipe import A1CLASS

_CHUNK = 256
_STEPS = 5


class Memory(NamedTuple):
    """Bytes resident."""

    own: int
    mapped: int


class Start(NamedTuple):
    """The beginning of a training, and memory."""

    seconds: float
    """From before the process was started until the first step was done."""
    network: Memory
    """After a few steps."""
    epoch: Memory
    """After all lesions have been served once."""


def repeat_lesions(prepared: Prepared, folder: Path, lesions: int) -> Prepared:
    """Write a prepared folder of ``lesions`` lesions, those of another one over and over again."""
    folder.mkdir(parents=True)
    for name in prepared.content["arrays"]:
        few = prepared.array(name)
        shape = (lesions, *few.shape[1:])
        many = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", few.dtype, shape)
        for start in range(0, lesions, _CHUNK):
            many[start : start + _CHUNK] = few[np.arange(start, min(start + _CHUNK, lesions)) % len(few)]
        many.flush()
    rows = [prepared.lesions[number % len(prepared.lesions)] | {"lesion": f"{number}"} for number in range(lesions)]
    write_csv(folder / "lesions.csv", rows, list(rows[0]))
    write_json(folder / "prepared.json", {**prepared.content, "lesions": lesions})
    return Prepared.load(folder)


def epoch(setup: Setup) -> float:
    """Seconds of an epoch over all lesions."""
    from common.resume import Standing

    trainer, lesions = make_trainer(setup), lesion_batches(setup)
    order = np.random.default_rng(0).permutation(len(lesions))
    trainer.epoch(islice(lesions.batches(trainer.recipe.batch_size), 1), Standing(), lambda: False)
    start = clock(trainer.device)
    trainer.epoch(lesions.batches(trainer.recipe.batch_size, order, "join"), Standing(), lambda: False)
    return clock(trainer.device) - start


def start(setup: Setup, began: float) -> Start:
    """A training that began, by ``time.time()``, at ``began``: its first steps, then all batches without the network."""
    trainer, lesions = make_trainer(setup), lesion_batches(setup)
    order = np.random.default_rng(0).permutation(len(lesions))
    batches = lesions.batches(trainer.recipe.batch_size, order, "join")
    trainer.step((next(batches),))
    clock(trainer.device)
    seconds = time.time() - began
    for batch in islice(batches, _STEPS):
        trainer.step((batch,))
    network = read_memory()
    for _ in batches:
        pass
    return Start(seconds, network, read_memory())


def read_memory() -> Memory:
    """This process's resident memory, as Linux tells it."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return Memory(own, mapped)


@contextmanager
def _grown(setup: Setup, lesions: int) -> Iterator[Setup]:
    """The setup with its lesions repeated, as long as the block lasts."""
    folder = setup.scratch / str(lesions)
    repeat_lesions(Prepared.load(setup.prepared), folder, lesions)
    try:
        yield setup._replace(prepared=folder, lesions=lesions)
    finally:
        shutil.rmtree(folder)
