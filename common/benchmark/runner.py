"""Work that is measured: each piece in a process of its own, so that time and memory are its alone."""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from common.data.dataset import LesionDataset
from common.recipe import TrainConfig
from common.run.cli import parse_train
from common.run.discover import Scripts, find_methods

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class BenchmarkConfig:
    """What the work is done on."""

    folder: Path
    """Of the dataset's scripts."""
    method: str
    """Whose recipe and network; a name of `discover.find_methods`."""
    data: Path
    prepared: Path
    scratch: Path
    """A folder for what is made on the way."""
    encoder: str
    canvas: tuple[int, int]
    steps: int
    """Steps that are timed; the first ones are not."""
    lesions: int
    """At most so many are used where the time of one does not depend on their number."""
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False

    @property
    def scripts(self) -> Scripts:
        """How the method is trained and scored."""
        return find_methods(self.folder)[self.method]

    @property
    def drawn(self) -> Path:
        """Where the published way keeps the ellipses it has drawn."""
        return self.scratch / "drawn"

    def run(self) -> TrainConfig:
        """The training of the setup, from random weights."""
        flags = ["--data", self.data, "--prepared", self.prepared, "--encoder", self.encoder]
        flags += ["--encoder-weights", "none", "--canvas", f"{self.canvas[0]}x{self.canvas[1]}"]
        flags += ["--device", self.device, "--precision", self.precision, *["--compile"] * self.compile]
        scripts = self.scripts
        protocol = LesionDataset.open(self.prepared).metadata["protocol"]
        return parse_train(scripts.recipe, None, [*map(str, flags), "--protocol", protocol])

    def rows(self, prepared: LesionDataset) -> np.ndarray:
        """The lesions that are used, of whatever split."""
        return np.arange(min(self.lesions, len(prepared.lesions)))


class Measurement(NamedTuple):
    """What a piece of work came to."""

    seconds: float
    items: int
    """Lesions or images."""
    flops: float = 0.0
    """Floating-point operations, where they are counted."""
    device_memory: int = 0
    """Most bytes taken on a GPU."""


class TimedRun(NamedTuple):
    """A piece of work, and what its process came to."""

    work: Any
    """What the function has returned: `Work` in the benchmark."""
    whole: float
    """Seconds from before the process started until it was done."""
    memory: int
    """Most bytes resident; where it had processes of its own, at most this."""


def run_in_subprocess(name: str, *arguments: Any) -> TimedRun:
    """Call the function ``name``, "module:function" of `common`, in a fresh process in which nothing is printed."""
    start = time.monotonic()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        work, memory = pool.submit(_observe, name, arguments).result()
        return TimedRun(work, time.monotonic() - start, memory)


def _observe(name: str, arguments: tuple[Any, ...]) -> tuple[Any, int]:
    module, function = name.split(":")
    # A script's own folder is on the path, but common/statistics.py must not stand for Python's module.
    sys.path[:] = [path for path in sys.path if Path(path) != Path(__file__).parent]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        work = getattr(import_module(f"common.{module}"), function)(*arguments)
    # Of its own processes the largest is known; as many as there are cores can have been that large at once.
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return work, resident("VmHWM") + children * (os.cpu_count() or 1)


def resident(kind: str) -> int:
    """Bytes of this process in memory, as Linux tells them: "VmHWM" the most, "RssAnon" its own, "RssFile" mapped.

    Unlike what ``getrusage`` tells, the most does not include the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{kind}:")[2].split()[0]) * 1024


def interleave(
    names: Sequence[str], setup: BenchmarkConfig, rounds: int, tell: Callable[[str], None]
) -> dict[str, list[TimedRun]]:
    """Every piece of work ``rounds`` times, one after the other in turn: what slows the machine slows all of them."""
    outcomes: dict[str, list[TimedRun]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            outcomes[name].append(run_in_subprocess(name, setup))
            tell(f"round {number + 1} of {rounds}, {name}: {outcomes[name][-1].whole:.1f} s")
    return outcomes


class Ratio(NamedTuple):
    """Two costs and how often the second goes into the first."""

    peer: float
    ours: float
    ratio: float
    lowest: float
    """Of the rounds' ratios."""
    highest: float


def compare(peer: Sequence[TimedRun], ours: Sequence[TimedRun], cost: Callable[[TimedRun], float]) -> Ratio:
    """The medians of what both cost over the rounds, and their ratio."""
    costs = [(cost(first), cost(second)) for first, second in zip(peer, ours, strict=True)]
    first, second = (float(np.median(values)) for values in zip(*costs, strict=True))
    ratios = [one / two for one, two in costs]
    return Ratio(first, second, first / second, min(ratios), max(ratios))


def find_dark(network: "nn.Module") -> "nn.Module":
    """Let an untrained network find the dark parts of an image.

    Left alone it finds nothing, and scoring nothing takes no time.
    """
    from torch.nn.functional import avg_pool2d

    def darkness(_: "nn.Module", inputs: tuple["Tensor"], outputs: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
        grey = inputs[0].mean(1, keepdim=True)
        dark = grey.mean((2, 3), keepdim=True) - avg_pool2d(grey, 15, 1, 7, count_include_pad=False)
        return {**outputs, "mask": outputs["mask"] * 0 + dark}

    network.register_forward_hook(darkness)
    return network
