"""Everything about a GPU that no other machine can tell, in one run of about ten minutes: `make gpu`.

    python common gpu ham --data DIR                       # DIR is a prepared data folder, phantoms will do
    python common gpu ham --data DIR --checks tests/on_gpu.py

Facts of the machine; the checks, which pytest runs; memory; speed of the training step by method, canvas, precision and
batch, one kernel after the other, as a CUDA graph, and compiled; speed beside the published way and plain products of
matrices; an epoch and an evaluation, split into their parts. Each measurement has a process of its own; what fails is
told, and the rest goes on. Prints a table, and writes gpu.md and gpu.json to --out. Without a GPU it says so, and ends.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product, repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

import numpy as np

from common.benchmark import ours, published
from common.benchmark.runner import BenchmarkConfig, Work, clock, machine, make_config, run_in_subprocess
from common.benchmark.scaling import repeat_lesions
from common.data.dataset import LesionDataset
from common.patches import CANVAS, SMALL_CANVAS
from common.recipe import A1CLASS, ACOSEG, ENCODER
from common.report.tables import markdown_table
from common.run.discover import find_folder, find_methods
from common.utils.arguments import Parser, positive
from common.utils.files import atomic_path, check_writable, write_json

_EPOCH_LESIONS, _SCORED_LESIONS = 2000, 1002
_QUERY = "name,driver_version,memory.total,clocks.max.sm,clocks.sm,power.limit"

Numbers = dict[str, float]
Precision = Literal["bf16", "fp32"]


class Part(NamedTuple):
    """A measurement: what it is called, a picklable function, and its arguments."""

    label: str
    function: Callable[..., Numbers]
    arguments: tuple[Any, ...]


def time_steps(config: BenchmarkConfig) -> Numbers:
    """Training steps on one batch that stays on the GPU.

    Returns:
        Images a second; milliseconds a step for the GPU and, in which it only launches, for the host; the share of the
        time in which the GPU computes; seconds of the first step, in which cuDNN chooses its convolutions.
    """
    from torch.profiler import ProfilerActivity, profile

    from common.training.trainer import step_groups

    trainer = ours.make_trainer(config)
    batch = next(ours.make_loader(config).batches(config.recipe.batch_size))
    steps = list(step_groups(config.recipe.method, batch))
    start = clock(config.device)
    trainer.step(steps[0])
    first = clock(config.device) - start
    for _ in range(config.warm_up):
        for groups in steps:
            trainer.step(groups)
    start = clock(config.device)
    for _ in range(config.steps):
        for groups in steps:
            trainer.step(groups)
    host = time.monotonic() - start
    seconds, count = clock(config.device) - start, config.steps * len(steps)
    with profile(activities=[ProfilerActivity.CUDA] if config.device != "cpu" else None) as record:
        for groups in steps:
            trainer.step(groups)
        clock(config.device)
    busy_ms = 1e-3 * sum(event.self_device_time_total for event in record.key_averages())
    return {
        "images_per_second": config.steps * len(batch.rows) / seconds,
        "busy_share": busy_ms / len(steps) / (1e3 * seconds / count),
        "step_ms": 1e3 * seconds / count,
        "host_ms": 1e3 * host / count,
        "first_step_s": first,
    }


def time_work(work: Work, config: BenchmarkConfig) -> Numbers:
    """A function of the speed benchmark."""
    measurement = work(config)
    rate = {"images_per_second": measurement.items / measurement.seconds}
    return {"TFLOP_per_second": 1e-12 * measurement.flops / measurement.seconds} if work is ours.multiply else rate


def time_epoch(config: BenchmarkConfig) -> Numbers:
    """An epoch of training, split into its steps, their loading, validation, and saving the state."""
    from common.training.resume import StateSaver
    from common.training.trainer import TrainState

    trainer, loader = ours.make_trainer(config), ours.make_loader(config)
    size = config.recipe.batch_size
    ours.time_training(trainer, islice(loader.batches(size), 10))  # warm-up
    numbers = {"epoch_s": ours.time_training(trainer, loader.batches(size, remainder="merge"))}
    batch = next(loader.batches(size))
    numbers["steps_alone_s"] = ours.time_training(trainer, repeat(batch, len(loader) // size))
    start = clock(config.device)
    for _ in loader.batches(size, remainder="merge"):
        pass
    numbers["loading_alone_s"] = clock(config.device) - start
    start = clock(config.device)
    trainer.validate(loader)
    numbers["validation_s"] = clock(config.device) - start
    with StateSaver(config.scratch / "a.pt", trainer, {}) as saver:
        start = clock(config.device)
        saver.save_between_epochs(TrainState())
        numbers["training_waits_for_saving_s"] = clock(config.device) - start
        saver.save(TrainState())
        numbers["saving_s"] = clock(config.device) - start - numbers["training_waits_for_saving_s"]
    return numbers


def time_evaluation(config: BenchmarkConfig) -> Numbers:
    """Predicting alone, then predicting and scoring, of as many lesions as HAM10000's test split has."""
    from common.data.loader import LesionLoader
    from common.evaluation.evaluate import score
    from common.inference.predictor import Predictor
    from common.training.device import pick_device

    model, size = ours.untrained_model(config), 8
    ours.segment_dark(model.network)
    predictor = Predictor(model, pick_device(config.device), config.precision)
    dataset, rows = config.open_lesions()
    loader = LesionLoader(
        dataset, np.sort(np.resize(rows, _SCORED_LESIONS)), "ellipse", config.canvas, predictor.device
    )
    list(islice(predictor.masks(loader, size), 2))  # warm-up
    start = clock(config.device)
    for _ in predictor.masks(loader, size):
        pass
    predicting, start = clock(config.device) - start, clock(config.device)
    score(predictor, loader, dataset.array("truth"), size)
    return {"predicting_s": predicting, "predicting_and_scoring_s": clock(config.device) - start}


def parts(config: BenchmarkConfig, large: BenchmarkConfig) -> Iterator[Part]:
    """All measurements, the most telling first; ``large`` has the lesions of an epoch."""
    folder = config.recipe.dataset.folder
    recipes = {name: scripts.recipe for name, scripts in find_methods(folder).items()}
    full: tuple[Precision, ...] = ("bf16", "fp32")
    for canvas in (SMALL_CANVAS, CANVAS):
        size, at_size = f"{canvas[0]}x{canvas[1]}", replace(config, canvas=canvas)
        for precision, name, graph in product(full, (A1CLASS.name, ACOSEG.name), (False, True)):
            recipe = recipes[name]
            label = f"step, {recipe.method.label}, {size}, {precision}, {'graph' if graph else 'eager'}"
            yield Part(label, time_steps, (replace(at_size, recipe=recipe, precision=precision, graph=graph),))
        yield Part(f"published way, training, {size}", time_work, (published.train, at_size))
        for batch_size in (32, 64):
            batched = replace(at_size, recipe=replace(config.recipe, batch_size=batch_size))
            yield Part(f"step, A1+L, {size}, bf16, graph, batch {batch_size}", time_steps, (batched,))
        yield Part(f"epoch of {_EPOCH_LESIONS}, {size}", time_epoch, (replace(large, canvas=canvas),))
        yield Part(f"evaluation of {_SCORED_LESIONS}, {size}", time_evaluation, (at_size,))
        compiled = replace(at_size, compile=True, graph=False)
        yield Part(f"step, A1+L, {size}, bf16, compiled", time_steps, (compiled,))
    for precision in full:
        yield Part(
            f"products of matrices, {precision}", time_work, (ours.multiply, replace(config, precision=precision))
        )


def run_parts(planned: Iterator[Part], seconds: float) -> list[dict[str, Any]]:
    """Measure one part after the other until the time is over; a part that fails has an "error" in place of numbers."""
    rows: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    for part in planned:
        if time.monotonic() > until:
            rows.append({"part": part.label, "error": "no time was left"})
            continue
        try:
            run = run_in_subprocess(part.function, *part.arguments)
            row = {"part": part.label, **run.measurement, "gpu_memory_MiB": run.gpu_memory / 2**20}
        except Exception as error:  # whatever it is, the other parts are worth having
            row = {"part": part.label, "error": f"{type(error).__name__}: {error}"}
        print(describe(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def run_checks(path: Path, seconds: float) -> list[dict[str, Any]]:
    """Let pytest run a file; its tests with "passed" or what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", str(path), f"--junitxml={report}"]
        try:
            run = subprocess.run(command, timeout=seconds, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            return [{"part": f"checks of {path}", "error": f"not done after {seconds:.0f} s"}]
        rows = []
        for case in ElementTree.parse(report).iter("testcase") if report.is_file() else ():
            fault = next((part.get("message", part.tag) for part in case if part.tag != "system-out"), None)
            outcome = {"passed": 1.0} if fault is None else {"error": fault}
            rows.append({"part": f"check: {case.get('name', '').removeprefix('test_').replace('_', ' ')}", **outcome})
        return rows or [{"part": f"checks of {path}", "error": run.stdout.strip().rpartition("\n")[2]}]


def describe(row: Mapping[str, Any]) -> str:
    """A measurement in one line."""
    numbers = (f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items() if isinstance(value, float))
    return f"{row['part']}: {row.get('error') or ', '.join(numbers)}"


def facts() -> dict[str, Any]:
    """The GPUs, their driver and clocks, and the libraries' versions."""
    import torch

    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        gpus = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.CalledProcessError):
        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return machine() | {"gpus": gpus, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("dataset", help="ham, or a folder of scripts")
    add("--data", type=Path, required=True, metavar="DIR", help="data folder, prepared")
    add("--checks", type=Path, metavar="FILE", help="tests for a GPU, which pytest runs first")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="of gpu.md and gpu.json (default bench)")
    add("--encoder", default=ENCODER, metavar="NAME", help=f"default {ENCODER}")
    add("--minutes", type=positive, default=10, metavar="N", help="after which no measurement begins (default 10)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    args = parse(arguments)
    import torch

    if not torch.cuda.is_available():
        print("there is no CUDA GPU here that PyTorch can use; nothing is measured")
        return
    check_writable(args.out, "pass another --out")
    until = time.monotonic() + 60 * args.minutes
    recipe = find_methods(find_folder(args.dataset))[A1CLASS.name].recipe
    with tempfile.TemporaryDirectory() as scratch:
        dataset = LesionDataset.open(args.data / "prepared", f"run {recipe.dataset.prepare_command} --data {args.data}")
        common = {"device": "cuda", "precision": "bf16", "encoder": args.encoder, "steps": 30, "data": args.data}
        config = make_config(recipe, dataset, **common, scratch=Path(scratch), lesions=100)
        repeated = repeat_lesions(dataset, Path(scratch, "epoch"), _EPOCH_LESIONS)
        large = replace(config, prepared=repeated.folder, lesions=_EPOCH_LESIONS)
        rows = run_checks(args.checks, 0.3 * 60 * args.minutes) if args.checks else []
        run_in_subprocess(published.prepare_without_grabcut, config)  # draws the ellipses that its loader reads
        rows += run_parts(parts(config, large), until - time.monotonic())
    about = facts()
    cells = [[row["part"], describe(row).removeprefix(f"{row['part']}: ")] for row in rows]
    text = markdown_table(["; ".join(about["gpus"]), "measured"], cells)
    print(text, end="")
    with atomic_path(args.out / "gpu.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(args.out / "gpu.json", {"machine": about, "parts": rows})
    print(f"{args.out / 'gpu.md'} and gpu.json written")
