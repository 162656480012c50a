"""Speed and memory of the project, beside the published way of doing the same and beside the hardware alone.

    python common benchmark ham                            # as published: ResNet-101 at 384x480
    python common benchmark ham --data DIR --encoder resnet18 --only loading metrics

Every line is a ratio of two measurements of the same run, taken in turn, each in a process of its own; the numbers are
medians over the rounds. The published way (common/benchmark/published.py) reads images with masks in pairs, so the data
are HAM10000 or its phantom, prepared. Prints the tables and writes table.md and bench.json to --out.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.benchmark import ours, published, runner
from common.benchmark.runner import BenchmarkConfig, TimedRun, Work
from common.data.dataset import LesionDataset
from common.patches import CANVAS, SMALL_CANVAS, parse_canvas
from common.recipe import A1CLASS, ENCODER
from common.report.tables import markdown_table
from common.run.discover import find_folder, find_methods
from common.utils.arguments import Parser, device_name, positive
from common.utils.files import check_writable, write_json, write_text


class Metric(NamedTuple):
    """A number that is taken from a timed run; 0 where it was not measured."""

    unit: str
    value: Callable[[TimedRun], float]
    higher_is_better: bool = False

    def show(self, value: float) -> str:
        """A value with its unit, to three digits or whole."""
        return f"{value:.3g} {self.unit}" if value < 100 else f"{value:.0f} {self.unit}"


RATE = Metric("images/s", lambda run: run.measurement.items / run.measurement.seconds, higher_is_better=True)
TIME = Metric("ms a lesion", lambda run: 1e3 * run.measurement.seconds / run.measurement.items)
WALL_TIME = Metric("ms a lesion", lambda run: 1e3 * run.wall_seconds / run.measurement.items)
MEMORY = Metric("MiB", lambda run: run.memory / 2**20)
GPU_MEMORY = Metric("MiB", lambda run: run.gpu_memory / 2**20)
FLOPS = Metric("TFLOP/s", lambda run: 1e-12 * run.measurement.flops / run.measurement.seconds, higher_is_better=True)


class Comparison(NamedTuple):
    """A line of a table: a function of the project beside its peer."""

    group: str  # the name that --only selects it by
    label: str
    peer: Work
    ours: Work
    metric: Metric = RATE

    def ratio(self, runs: Mapping[Work, Sequence[TimedRun]]) -> dict[str, float] | None:
        """Compare round by round; None where nothing was measured.

        Returns:
            Medians "peer" and "ours", how many times better ours is: "ratio", and of a round "lowest" and "highest".
        """
        values = np.array([[self.metric.value(run) for run in runs[work]] for work in (self.peer, self.ours)])
        if not values.all():
            return None
        (peer, ours), power = np.median(values, axis=1).tolist(), -1 if self.metric.higher_is_better else 1
        ratio, ratios = (peer / ours) ** power, ((values[0] / values[1]) ** power).tolist()
        return {"peer": peer, "ours": ours, "ratio": ratio, "lowest": min(ratios), "highest": max(ratios)}


def comparisons(canvas: tuple[int, int]) -> list[Comparison]:
    """All comparisons at a canvas: with the published way and, in the group `HARDWARE`, with an upper bound."""
    size, small = (f"{rows}x{columns}" for rows, columns in (canvas, SMALL_CANVAS))
    prepare = published.prepare, ours.prepare
    ellipses = published.prepare_without_grabcut, ours.prepare_without_grabcut
    train, train_small = (published.train, ours.train), (published.train, ours.train_small)
    return [
        Comparison("preparing", "preparing with GrabCut", *prepare, TIME),
        Comparison("preparing", "the same, start of Python included", *prepare, WALL_TIME),
        Comparison("preparing", "the same, peak memory of all processes", *prepare, MEMORY),
        Comparison("preparing", "preparing without GrabCut", *ellipses, TIME),
        Comparison("preparing", "the same, start of Python included", *ellipses, WALL_TIME),
        Comparison("loading", f"loading, {size}", published.load, ours.load),
        Comparison("training", f"training, {size}", *train),
        Comparison("training", "the same, peak memory", *train, MEMORY),
        Comparison("training", "the same, peak GPU memory", *train, GPU_MEMORY),
        Comparison("small", f"training, {small} against {size}", *train_small),
        Comparison("small", "the same, peak memory", *train_small, MEMORY),
        Comparison("evaluation", f"evaluation with metrics, {size}", published.evaluate, ours.evaluate),
        Comparison("metrics", "metrics, one core", published.score, ours.score, TIME),
        Comparison(HARDWARE, f"training, {size}: network alone", ours.train_network, ours.train),
        Comparison(HARDWARE, f"training, {size}: matrix multiplication", ours.multiply, ours.train, FLOPS),
    ]


HARDWARE = "hardware"
GROUPS = tuple(dict.fromkeys(comparison.group for comparison in comparisons(CANVAS)))


def table(lines: Sequence[tuple[Comparison, Mapping[str, float]]], peer: str) -> str:
    """Comparisons and their ratios as a Markdown table, ``peer`` being its column's heading; empty without any."""
    rows = []
    for comparison, ratio in lines:
        medians = [comparison.metric.show(ratio[way]) for way in ("peer", "ours")]
        spread = f"{ratio['lowest']:.3g} to {ratio['highest']:.3g}"
        rows.append([comparison.label, *medians, f"{ratio['ratio']:.3g}", spread])
    return markdown_table(["", peer, "this project", "ratio", "over the rounds"], rows) if rows else ""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("dataset", help="ham, or a folder of scripts")
    add("--data", type=Path, metavar="DIR", help="data folder, prepared (default the dataset's)")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="of table.md and bench.json (default bench)")
    add("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="NAME", help=f"of {', '.join(GROUPS)}")
    add("--encoder", default=ENCODER, metavar="NAME", help=f"default {ENCODER}")
    add("--canvas", type=parse_canvas, default=CANVAS, metavar="HxW", help="default as published")
    add("--steps", type=positive, metavar="N", help="timed training steps (default 3; on a GPU 30)")
    add("--rounds", type=positive, default=3, metavar="N", help="measurements of each (default 3)")
    add("--lesions", type=positive, default=100, metavar="N", help="that the published way prepares (default 100)")
    add("--device", type=device_name, default="auto", metavar="auto|cpu|cuda|cuda:N|mps")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="the project's; published is fp32")
    add("--compile", action="store_true", help="compile the project's network")
    return parser.parse_args(arguments)


def configure(args: argparse.Namespace, scratch: Path) -> BenchmarkConfig:
    """The benchmark that a command line describes.

    Raises:
        UserError: no such dataset, prepared folder or device.
    """
    folder = find_folder(args.dataset)
    recipe = find_methods(folder)[A1CLASS.name].recipe
    data = args.data or folder / recipe.dataset.data
    dataset = LesionDataset.open(data / "prepared", f"run {recipe.dataset.prepare_command} --data {data}")
    names = ("encoder", "canvas", "steps", "lesions", "device", "precision", "compile")
    return runner.make_config(
        recipe, dataset, data=data, scratch=scratch, **{name: getattr(args, name) for name in names}
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    args = parse(arguments)
    check_writable(args.out, "pass another --out")
    selected = [comparison for comparison in comparisons(args.canvas) if comparison.group in args.only]
    works = dict.fromkeys(work for comparison in selected for work in (comparison.peer, comparison.ours))
    with tempfile.TemporaryDirectory() as scratch:
        config = configure(args, Path(scratch))
        runner.run_in_subprocess(published.prepare_without_grabcut, config)  # draws the ellipses that its loader reads
        runs = runner.interleave(list(works), config, args.rounds)
    lines = [(comparison, ratio) for comparison in selected if (ratio := comparison.ratio(runs))]
    beside_published = table([line for line in lines if line[0].group != HARDWARE], "published way")
    beside_hardware = table([line for line in lines if line[0].group == HARDWARE], "at most")
    text = "\n".join(filter(None, [beside_published, beside_hardware]))
    print(text, end="")
    write_text(args.out / "table.md", text)
    content = {
        "command": f"python common benchmark {shlex.join(sys.argv[2:] if arguments is None else arguments)}",
        "settings": {name: str(value) for name, value in vars(args).items()},
        "machine": runner.machine(),
        "lines": [{"line": row.label, "unit": row.metric.unit, **ratio} for row, ratio in lines],
        "rounds": {runner.work_name(work): [asdict(run) for run in rounds] for work, rounds in runs.items()},
    }
    write_json(args.out / "bench.json", content)
    print(f"{args.out / 'table.md'} and bench.json written")
