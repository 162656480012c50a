"""All checks and measurements that need a GPU, in one run of about ten minutes: `make gpu`.

    python common gpu ham --data DIR                       # DIR is a prepared data folder; synthetic data will do
    python common gpu ham --data DIR --checks tests/on_gpu.py

Facts of the machine; the checks, which pytest runs; memory; speed of the training step by method, canvas, precision and
batch, one kernel after the other, as a CUDA graph, and compiled; speed beside the published way and plain matrix
multiplication; an epoch and an evaluation, split into their parts. Each measurement has a process of its own; what
fails is told, and the rest goes on. Prints a table; gpu.md and gpu.json in --out are written anew after every
measurement, so that an interrupted run leaves what it had. Without a GPU it says so, and ends.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from common.benchmark import published
from common.benchmark.gpu_parts import EPOCH_LESIONS, Part, parts
from common.benchmark.runner import machine, make_config, run_in_subprocess
from common.benchmark.scaling import repeat_lesions
from common.data.dataset import LesionDataset
from common.recipe import A1CLASS, ENCODER
from common.report.tables import markdown_table
from common.run.discover import find_folder, find_methods
from common.utils.arguments import Parser, positive
from common.utils.files import check_writable, write_json, write_text

_QUERY = "name,driver_version,memory.total,clocks.max.sm,clocks.sm,power.limit"


def run_parts(planned: Iterator[Part], seconds: float) -> Iterator[dict[str, Any]]:
    """Measure one part after the other until the time is over; a part that fails has an "error" in place of numbers."""
    until = time.monotonic() + seconds
    for label, measure in planned:
        if time.monotonic() > until:
            yield {"part": label, "error": "no time was left"}
            continue
        try:
            run = run_in_subprocess(measure)
            row = {"part": label, **run.measurement, "gpu_memory_MiB": run.gpu_memory / 2**20}
        except Exception as error:  # whatever it is, the other parts are worth having
            row = {"part": label, "error": f"{type(error).__name__}: {error}"}
        print(describe(row), file=sys.stderr, flush=True)
        yield row


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
    until, about = time.monotonic() + 60 * args.minutes, facts()
    recipe = find_methods(find_folder(args.dataset))[A1CLASS.name].recipe
    with tempfile.TemporaryDirectory() as scratch:
        dataset = LesionDataset.open(args.data / "prepared", f"run {recipe.dataset.prepare_command} --data {args.data}")
        common = {"device": "cuda", "precision": "bf16", "encoder": args.encoder, "steps": 30, "data": args.data}
        config = make_config(recipe, dataset, **common, scratch=Path(scratch), lesions=100)
        repeated = repeat_lesions(dataset, Path(scratch, "epoch"), EPOCH_LESIONS)
        large = replace(config, prepared=repeated.folder, lesions=EPOCH_LESIONS)
        run_in_subprocess(published.prepare_without_grabcut, config)  # draws the ellipses that its loader reads
        rows = run_checks(args.checks, 0.3 * 60 * args.minutes) if args.checks else []
        text = _write(args.out, about, rows)
        for row in run_parts(parts(config, large), until - time.monotonic()):
            rows.append(row)
            text = _write(args.out, about, rows)
    print(text, end="")
    print(f"{args.out / 'gpu.md'} and gpu.json written")


def _write(folder: Path, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [[row["part"], describe(row).removeprefix(f"{row['part']}: ")] for row in rows]
    text = markdown_table(["; ".join(about["gpus"]), "measured"], cells)
    write_text(folder / "gpu.md", text)
    write_json(folder / "gpu.json", {"machine": about, "parts": rows})
    return text
