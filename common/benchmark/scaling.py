"""How training scales with the number of lesions: seconds an epoch, seconds until the first step, memory.

    python common scaling ham --prepared DIR --epochs 100 1000 10000
    python common scaling deeplesion --prepared DIR --starts 100 32735

The lesions of the prepared folder are repeated as often as needed. Every measurement has a process of its own. Memory
is counted as Linux does: the process's own pages, and mapped pages of the arrays, which Linux reclaims whenever
something else needs the room. Prints a table and writes scaling.json to --out.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from common.benchmark.ours import make_loader, make_trainer, time_training
from common.benchmark.runner import BenchmarkConfig, clock, machine, make_config, resident_memory, run_in_subprocess
from common.data.dataset import LesionDataset
from common.patches import SMALL_CANVAS, parse_canvas
from common.recipe import A1CLASS
from common.report.tables import markdown_table
from common.run.discover import find_folder, find_methods
from common.utils.arguments import Parser, device_name, whole_number
from common.utils.errors import UserError
from common.utils.files import check_writable, write_csv, write_json

_CHUNK = 256  # lesions that are copied at a time
_STEPS = 5  # of a training whose memory is measured


def repeat_lesions(dataset: LesionDataset, folder: Path, lesions: int) -> LesionDataset:
    """Write a prepared folder of ``lesions`` lesions, those of another one over and over again."""
    folder.mkdir(parents=True)
    for name in dataset.metadata["arrays"]:
        array = dataset.array(name)
        repeated = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", array.dtype, (lesions, *array.shape[1:]))
        for start in range(0, lesions, _CHUNK):
            repeated[start : start + _CHUNK] = array[np.arange(start, min(start + _CHUNK, lesions)) % len(array)]
        repeated.flush()
    rows = [dataset.lesions[number % len(dataset.lesions)] | {"lesion": f"{number}"} for number in range(lesions)]
    write_csv(folder / "lesions.csv", rows, list(rows[0]))
    write_json(folder / "prepared.json", {**dataset.metadata, "lesions": lesions})
    return LesionDataset.open(folder)


def time_epoch(config: BenchmarkConfig, _: float) -> dict[str, float]:
    """An epoch over all lesions: its seconds, and milliseconds a lesion."""
    trainer, loader = make_trainer(config), make_loader(config)
    batch_size, order = trainer.recipe.batch_size, np.random.default_rng(0).permutation(len(loader))
    time_training(trainer, islice(loader.batches(batch_size), 1))  # warm-up
    seconds = time_training(trainer, loader.batches(batch_size, order, "merge"))
    return {"seconds": seconds, "milliseconds_a_lesion": 1e3 * seconds / len(loader)}


def start_training(config: BenchmarkConfig, began: float) -> dict[str, float]:
    """Train the first steps of an epoch, then load the rest of it without the network.

    Returns:
        Seconds from ``began``, on ``time.time()``'s clock, until the first step was done; the process's memory at the
        end, its own and mapped files, which are libraries and what Linux still keeps of the arrays.
    """
    trainer, loader = make_trainer(config), make_loader(config)
    order = np.random.default_rng(0).permutation(len(loader))
    batches = loader.batches(trainer.recipe.batch_size, order, "merge")
    trainer.step((next(batches),))
    clock(config.device)
    seconds = time.time() - began
    for batch in islice(batches, config.steps):
        trainer.step((batch,))
    for _ in batches:
        pass
    kinds = {"own_GiB": "RssAnon", "mapped_GiB": "RssFile"}
    memory = {name: resident_memory(kind) / 2**30 for name, kind in kinds.items() if sys.platform == "linux"}
    return {"seconds": seconds, **memory}


def measure(function: Callable[..., dict[str, float]], config: BenchmarkConfig, lesions: int) -> dict[str, float]:
    """Measure on the prepared lesions, repeated until there are ``lesions``; their number precedes the measurement."""
    with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
        dataset = repeat_lesions(config.open_lesions()[0], Path(folder, "prepared"), lesions)
        repeated = replace(config, prepared=dataset.folder, lesions=lesions)
        row = run_in_subprocess(function, repeated, time.time()).measurement
    print(f"{lesions} lesions: {row['seconds']:.1f} s", file=sys.stderr, flush=True)
    return {"lesions": lesions, **row}


def table(rows: Sequence[Mapping[str, float]]) -> str:
    """Measurements as a Markdown table."""
    header = [name.replace("_", " ") for name in rows[0]]
    return markdown_table(header, [[f"{value:,.5g}" for value in row.values()] for row in rows])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("dataset", help="ham, lits, deeplesion, or a folder of scripts")
    add("--prepared", type=Path, required=True, metavar="DIR", help="a prepared folder of the dataset")
    several = whole_number("a whole number above 1", 2, 2**31 - 1)  # batch normalisation needs two images
    add("--epochs", type=several, nargs="*", default=[], metavar="N", help="numbers of lesions to time an epoch of")
    add("--starts", type=several, nargs="*", default=[], metavar="N", help="numbers of lesions to start training on")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="of scaling.json (default bench)")
    add("--encoder", default="resnet18", metavar="NAME", help="default resnet18")
    add("--canvas", type=parse_canvas, default=SMALL_CANVAS, metavar="HxW", help="default 128x128")
    add("--device", type=device_name, default="auto", metavar="auto|cpu|cuda|cuda:N|mps")
    args = parser.parse_args(arguments)
    if not (args.epochs or args.starts):
        raise UserError("nothing to measure; pass numbers of lesions with --epochs or --starts")
    check_writable(args.out, "pass another --out")
    recipe = find_methods(find_folder(args.dataset))[A1CLASS.name].recipe
    settings = {"encoder": args.encoder, "canvas": args.canvas, "device": args.device, "data": args.prepared.parent}
    with tempfile.TemporaryDirectory() as scratch:
        dataset = LesionDataset.open(args.prepared)
        config = make_config(recipe, dataset, **settings, scratch=Path(scratch), steps=_STEPS, lesions=1)
        epochs, starts = (
            [measure(function, config, lesions) for lesions in sizes]
            for function, sizes in ((time_epoch, args.epochs), (start_training, args.starts))
        )
    print("\n".join(map(table, filter(None, (epochs, starts)))), end="")
    write_json(args.out / "scaling.json", {"epochs": epochs, "starts": starts, "machine": machine()})
