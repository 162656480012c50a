"""How fast the project is, against the published way of doing the same and against the hardware alone.

    python common/bench.py ham                            # as published: ResNet-101 at 384x480
    python common/bench.py ham --data DIR --encoder resnet18 --only loading metrics

Every line is a ratio of two measurements of the same run, taken in turn, each in a process of its own; the figures are
medians over the rounds. The published way (common/published.py) reads images with masks in pairs, so the data are
HAM10000 or its phantom, prepared. Prints the tables and writes table.md and bench.json to --out.
"""

import argparse
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from common.benchmark.runner import BenchmarkConfig, Ratio, TimedRun, compare, interleave, run_in_subprocess
from common.data.dataset import LesionDataset
from common.patches import CANVAS, SMALL_CANVAS, parse_canvas
from common.recipe import A1CLASS, ENCODER
from common.report.tables import pipes
from common.run.discover import find_folder, find_methods
from common.utils.arguments import Parser, positive
from common.utils.errors import UserError
from common.utils.files import atomic_path, write_json

# This module must not import torch: preparing's own processes import it again, and memory is measured.


@dataclass(frozen=True)
class Cost:
    """Something a piece of work costs: less is better, and 0 means that it was not measured."""

    of: Callable[[TimedRun], float]
    show: Callable[[float], str]


def _per_item(outcome: TimedRun) -> float:
    return outcome.work.seconds / outcome.work.items


RATE = Cost(_per_item, lambda cost: f"{1 / cost:.3g} images/s")
TIME = Cost(_per_item, lambda cost: f"{1e3 * cost:.3g} ms a lesion")
WHOLE = Cost(lambda outcome: outcome.whole / outcome.work.items, TIME.show)
MEMORY = Cost(lambda outcome: outcome.memory, lambda cost: f"{cost / 2**20:.0f} MiB")
GPU_MEMORY = Cost(lambda outcome: outcome.work.device_memory, MEMORY.show)
FLOPS = Cost(
    lambda outcome: outcome.work.seconds / outcome.work.flops if outcome.work.flops else 0,
    lambda cost: f"{1e-12 / cost:.3g} TFLOP/s",
)


class Line(NamedTuple):
    """A line of a table: what one piece of work costs beside another."""

    group: str
    """What --only names it by."""
    what: str
    peer: str
    ours: str
    """Both as "module:function" of `common`."""
    cost: Cost = RATE

    def compare(self, outcomes: Mapping[str, Sequence[TimedRun]]) -> Ratio | None:
        """The line's numbers; None where they were not measured."""
        peer, ours = outcomes[self.peer], outcomes[self.ours]
        if not all(map(self.cost.of, (*peer, *ours))):
            return None
        return compare(peer, ours, self.cost.of)

    def cells(self, ratio: Ratio) -> list[str]:
        """The line's cells."""
        show = self.cost.show
        return [
            self.what,
            show(ratio.peer),
            show(ratio.ours),
            f"{ratio.ratio:.3g}",
            f"{ratio.lowest:.3g} to {ratio.highest:.3g}",
        ]


def against_published(canvas: tuple[int, int]) -> list[Line]:
    """The lines that compare with the published way, at ``canvas`` unless another is named."""
    size, small = (f"{rows}x{columns}" for rows, columns in (canvas, SMALL_CANVAS))

    def line(group: str, what: str, work: str, cost: Cost = RATE, ours: str | None = None) -> Line:
        return Line(group, what, f"bench_published:{work}", f"bench_ours:{ours or work}", cost)

    return [
        line("preparing", "preparing with GrabCut", "prepare", TIME),
        line("preparing", "the same, start of Python included", "prepare", WHOLE),
        line("preparing", "the same, peak memory of all processes", "prepare", MEMORY),
        line("preparing", "preparing without GrabCut", "prepare_without_grabcut", TIME),
        line("preparing", "the same, start of Python included", "prepare_without_grabcut", WHOLE),
        line("loading", f"loading, {size}", "load"),
        line("training", f"training, {size}", "train"),
        line("training", "the same, peak memory", "train", MEMORY),
        line("training", "the same, peak GPU memory", "train", GPU_MEMORY),
        line("small", f"training, {small} against {size}", "train", ours="train_small"),
        line("small", "the same, peak memory", "train", MEMORY, ours="train_small"),
        line("evaluation", f"evaluation with metrics, {size}", "evaluate"),
        line("metrics", "metrics, one core", "score", TIME),
    ]


def against_hardware(canvas: tuple[int, int]) -> list[Line]:
    """The lines that compare a training with what the network and the hardware allow."""
    size = f"{canvas[0]}x{canvas[1]}"
    return [
        Line("hardware", f"training, {size}: network alone", "bench_ours:train_network", "bench_ours:train"),
        Line("hardware", f"training, {size}: product of matrices", "bench_ours:multiply", "bench_ours:train", FLOPS),
    ]


GROUPS = tuple(dict.fromkeys(line.group for line in (*against_published(CANVAS), *against_hardware(CANVAS))))
"""What --only takes."""


def report(lines: Sequence[Line], outcomes: Mapping[str, Sequence[TimedRun]], peer: str) -> str:
    """The table of some lines; empty where none of them was measured."""
    rows = [line.cells(ratio) for line in lines if (ratio := line.compare(outcomes))]
    return pipes(["", peer, "this project", "ratio", "over the rounds"], rows) if rows else ""


def machine() -> dict[str, Any]:
    """Where it is measured, and with what."""
    import torch  # only now: the processes that were measured are over

    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    names = ("torch", "segmentation-models-pytorch", "numpy", "opencv-python", "matplotlib", "scikit-image")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("dataset", help="ham, or a folder of scripts")
    add("--data", type=Path, metavar="DIR", help="data folder, prepared (default the dataset's)")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="of table.md and bench.json (default bench)")
    add("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="NAME", help=f"of {', '.join(GROUPS)}")
    add("--method", default=A1CLASS.name, help=f"default {A1CLASS.name}")
    add("--encoder", default=ENCODER, metavar="NAME", help=f"default {ENCODER}")
    add("--canvas", type=parse_canvas, default=CANVAS, metavar="HxW", help="default as published")
    add("--steps", type=positive, metavar="N", help="timed training steps (default 3; on a GPU 30)")
    add("--rounds", type=positive, default=3, metavar="N", help="measurements of each (default 3)")
    add("--lesions", type=positive, default=100, metavar="N", help="that the published way prepares (default 100)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="the project's; published is fp32")
    add("--compile", action="store_true", help="compile the project's network")
    return parser.parse_args(arguments)


def make_setup(args: argparse.Namespace, scratch: Path) -> BenchmarkConfig:
    """What is measured, from the command line.

    Raises:
        UserError: no such dataset or method, or the method feeds images in pairs; no prepared folder.
    """
    folder = find_folder(args.dataset)
    methods = find_methods(folder)
    if args.method not in methods or methods[args.method].recipe.method.paired:
        known = ", ".join(name for name, scripts in methods.items() if not scripts.recipe.method.paired)
        raise UserError(f"--method {args.method} can't be measured; there are {known}")
    dataset = methods[args.method].recipe.dataset
    data = args.data or folder / dataset.data
    LesionDataset.open(data / "prepared", f"run {dataset.prepare_command} --data {data}")
    steps = args.steps or (30 if args.device != "cpu" and any(Path("/dev").glob("nvidia[0-9]*")) else 3)
    return BenchmarkConfig(
        folder, args.method, data, data / "prepared", scratch, args.encoder, args.canvas, steps, args.lesions,
        args.device, args.precision, args.compile,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    args = parse(arguments)
    tell = partial(print, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        setup = make_setup(args, Path(scratch))
        published, hardware = (
            [line for line in lines(args.canvas) if line.group in args.only]
            for lines in (against_published, against_hardware)
        )
        names = list(dict.fromkeys(name for line in (*published, *hardware) for name in (line.peer, line.ours)))
        run_in_subprocess(
            "bench_published:prepare_without_grabcut", setup
        )  # leaves the pictures that the loading reads
        outcomes = interleave(names, setup, args.rounds, tell)
    tables = [report(published, outcomes, "published way"), report(hardware, outcomes, "at most")]
    text = "\n".join(filter(None, tables))
    print(text, end="")
    with atomic_path(args.out / "table.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    lines = {line: line.compare(outcomes) for line in (*published, *hardware)}
    write_json(
        args.out / "bench.json",
        {
            "command": shlex.join(["python", *sys.argv]),
            "settings": {name: str(value) for name, value in vars(args).items()},
            "machine": machine(),
            "lines": [{"line": line.what, **ratio._asdict()} for line, ratio in lines.items() if ratio],
            "rounds": {name: [_as_dict(outcome) for outcome in rounds] for name, rounds in outcomes.items()},
        },
    )
    print(f"{args.out / 'table.md'} and bench.json written")


def _as_dict(outcome: TimedRun) -> dict[str, Any]:
    return {**outcome._asdict(), "work": outcome.work._asdict()}
