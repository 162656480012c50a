"""Timed runs: every measurement in a process of its own, so that its time and memory are its alone."""

import multiprocessing
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.dataset import LesionDataset
from common.recipe import Recipe
from common.run.cli import parse_train
from common.training.config import TrainConfig
from common.utils.parallel import available_cores
from common.utils.provenance import package_versions


@dataclass(frozen=True)
class BenchmarkConfig(TrainConfig):
    """A training from random weights, and what else the measured functions need."""

    data: Path  # the data folder, with the images that were prepared
    scratch: Path  # a folder for temporary files
    steps: int  # timed training steps; warm-up steps come before them
    lesions: int  # at most this many are used where the time per lesion does not depend on their number

    @property
    def warm_up(self) -> int:
        """Training steps before the timed ones: memory is allocated, a GPU chooses its convolutions."""
        return 1 if self.device == "cpu" else 5

    @property
    def scored_lesions(self) -> int:
        """Lesions that an evaluation predicts and scores, some of them more than once if need be."""
        return self.steps * self.recipe.batch_size if self.device == "cpu" else 1000

    def open_lesions(self) -> tuple[LesionDataset, np.ndarray]:
        """The prepared folder, and the row numbers of the lesions that are used, whatever their split."""
        dataset = LesionDataset.open(self.prepared)
        return dataset, np.arange(min(self.lesions, len(dataset.lesions)))


def make_config(recipe: Recipe, dataset: LesionDataset, **settings: Any) -> BenchmarkConfig:
    """Configure a benchmark on a prepared folder under its protocol, on a device that is chosen now."""
    from common.training.device import pick_device

    flags = ["--prepared", str(dataset.folder), "--protocol", dataset.metadata["protocol"], "--encoder-weights", "none"]
    values = {**vars(parse_train(recipe, None, flags)), **settings}
    values["device"] = str(pick_device(values["device"]))
    return BenchmarkConfig(**values | {"steps": values["steps"] or (3 if values["device"] == "cpu" else 30)})


@dataclass(frozen=True)
class Measurement:
    """What a measured function reports of itself."""

    seconds: float  # without imports and warm-up
    items: int  # lesions or images processed
    flops: float = 0.0  # floating-point operations, where they are counted


@dataclass(frozen=True)
class TimedRun:
    """What a measured function returned, and the cost of its process."""

    measurement: Any  # a `Measurement` in the speed benchmark
    wall_seconds: float  # from before the process was started until the function returned
    memory: int  # peak resident bytes, an upper bound where the function started processes; 0 elsewhere than on Linux
    gpu_memory: int  # peak bytes allocated on a GPU; 0 without one


def run_in_subprocess(function: Callable[..., Any], *arguments: Any) -> TimedRun:
    """Call a picklable function in a fresh process, without its standard output."""
    start = time.monotonic()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        result, memory, gpu_memory = pool.submit(_call, function, arguments).result()
        return TimedRun(result, time.monotonic() - start, memory, gpu_memory)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, int, int]:
    with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):
        result = function(*arguments)
    torch = sys.modules.get("torch")  # only where the function imported it
    gpus = [torch.cuda.max_memory_allocated(gpu) for gpu in range(torch.cuda.device_count())] if torch else []
    return result, _peak_memory(), max(gpus, default=0)


def _peak_memory() -> int:
    if sys.platform != "linux":
        return 0
    import resource

    # Only the largest child process is known; as many as there are cores may have been that large at once.
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 * available_cores()
    return resident_memory("VmHWM") + children


def resident_memory(kind: str) -> int:
    """Bytes of this process in memory, by Linux's name: "VmHWM" peak, "RssAnon" its own, "RssFile" mapped files.

    Unlike ``getrusage``, the peak does not include the process that started this one. 0 elsewhere than on Linux.
    """
    status = Path("/proc/self/status")
    return int(status.read_text().partition(f"{kind}:")[2].split()[0]) * 1024 if status.is_file() else 0


def clock(device: str) -> float:
    """Seconds on a monotonic clock, once a GPU has finished its queued work."""
    if device != "cpu":
        from torch.accelerator import synchronize

        synchronize(device)
    return time.monotonic()


Work = Callable[[BenchmarkConfig], Measurement]  # a function that is measured


def work_name(work: Work) -> str:
    """A function's module and name, such as "ours.train"."""
    return f"{work.__module__.rpartition('.')[2]}.{work.__name__}"


def interleave(functions: Sequence[Work], config: BenchmarkConfig, rounds: int) -> dict[Work, list[TimedRun]]:
    """Run all functions in turn, ``rounds`` times, so that whatever slows the machine slows all of them."""
    runs: dict[Work, list[TimedRun]] = {function: [] for function in functions}
    for number in range(1, rounds + 1):
        for function in functions:
            run = run_in_subprocess(function, config)
            runs[function].append(run)
            progress = f"round {number} of {rounds}, {work_name(function)}: {run.wall_seconds:.1f} s"
            print(progress, file=sys.stderr, flush=True)
    return runs


def machine() -> dict[str, Any]:
    """The hardware and the package versions of this machine."""
    import torch

    cpu_info = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", cpu_info.read_text() if cpu_info.is_file() else "", re.MULTILINE)
    packages = ("torch", "segmentation-models-pytorch", "numpy", "opencv-python", "matplotlib", "scikit-image")
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "versions": package_versions(*packages),
    }
