"""The project's own way, as `bench` measures it: the functions that the scripts call."""

import time
from dataclasses import replace
from importlib import import_module
from itertools import islice, repeat
from typing import TYPE_CHECKING

import numpy as np

from common.benchmark.runner import BenchmarkConfig, Measurement, find_dark
from common.data.dataset import LesionDataset
from common.patches import SMALL_CANVAS

if TYPE_CHECKING:  # preparing and scoring do without torch, and its memory would be counted as theirs
    import torch

    from common.data.loader import LesionLoader
    from common.training.checkpoint import TrainedModel
    from common.training.trainer import Trainer

_WARM_STEPS = {"cpu": 1, "cuda": 5}
"""Steps before those that are timed: memory is fetched, and on a GPU convolutions are chosen."""
_SMALL_STEPS = 5
"""The small canvas is given so many times the steps, which are short there."""
LESIONS_SCORED = 200
"""Enough to tell what scoring takes."""


def warm_steps(device: "torch.device") -> int:
    """How many steps go before those that are timed."""
    return _WARM_STEPS[device.type]


def clock(device: "torch.device") -> float:
    """Seconds, once the device has done all that it was asked to do."""
    if device.type == "cuda":
        from torch.cuda import synchronize

        synchronize(device)
    return time.monotonic()


def device_memory(device: "torch.device") -> int:
    """Most bytes taken on a GPU so far; 0 on the CPU."""
    if device.type != "cuda":
        return 0
    from torch.cuda import max_memory_allocated

    return max_memory_allocated(device)


def prepare(setup: BenchmarkConfig, *flags: str) -> Measurement:
    """The dataset's own script, over all of its data."""
    import sklearn.cluster  # noqa: F401 - imports belong to the start

    script = setup.scripts.recipe.dataset.prepare_script
    main = import_module(script.removesuffix(".py")).main
    asked = LesionDataset.open(setup.prepared).metadata
    made = setup.scratch / "prepared"
    settings = ["--protocol", asked["protocol"], "--clusters", str(asked["clusters"]), "--force", *flags]
    start = time.monotonic()
    main(["--data", str(setup.data), "--prepared", str(made), *settings])
    return Measurement(time.monotonic() - start, len(LesionDataset.open(made).lesions))


def prepare_without_grabcut(setup: BenchmarkConfig) -> Measurement:
    """The same, ellipses only."""
    return prepare(setup, "--no-grabcut")


def score(setup: BenchmarkConfig) -> Measurement:
    """All figures of ellipses against the truth, on one core."""
    import cv2

    from common.metrics import lesion_metrics

    cv2.setNumThreads(1)
    prepared = LesionDataset.open(setup.prepared)
    rows = setup.rows(prepared)[:LESIONS_SCORED]
    truth, ellipse = prepared.array("truth")[rows], prepared.array("ellipse")[rows]
    lesion_metrics(truth[0], ellipse[0])
    start = time.monotonic()
    for one, other in zip(truth, ellipse, strict=True):
        lesion_metrics(one, other)
    return Measurement(time.monotonic() - start, len(rows))


def lesion_batches(setup: BenchmarkConfig) -> "LesionLoader":
    """The lesions of the setup."""
    from common.data.loader import LesionLoader
    from common.training.device import pick_device

    prepared = LesionDataset.open(setup.prepared)
    return LesionLoader(prepared, setup.rows(prepared), "ellipse", setup.canvas, pick_device(setup.device))


def make_trainer(setup: BenchmarkConfig) -> "Trainer":
    """The network of the setup, ready to be trained as the training scripts do it."""
    from common.training.device import pick_device
    from common.training.distributed import SINGLE_PROCESS
    from common.training.train import build_trainer

    return build_trainer(setup.run(), pick_device(setup.device), SINGLE_PROCESS)


def load(setup: BenchmarkConfig) -> Measurement:
    """Batches on the device, ready for the network."""
    lesions = lesion_batches(setup)
    start = clock(lesions.device)
    served = sum(len(batch.rows) for batch in lesions.batches(setup.scripts.recipe.batch_size))
    return Measurement(clock(lesions.device) - start, served)


def train(setup: BenchmarkConfig) -> Measurement:
    """Training steps with the loading of their batches."""
    from common.model import count_flops
    from common.training.trainer import TrainState

    trainer, lesions = make_trainer(setup), lesion_batches(setup)
    size, warm = trainer.recipe.batch_size, warm_steps(trainer.device)
    order = np.arange((warm + setup.steps) * size) % len(lesions)
    batches = lesions.batches(size, order)
    flops = count_flops(trainer.network, setup.canvas)
    trainer.train_epoch(islice(batches, warm), TrainState(), lambda: False)
    start = clock(trainer.device)
    trainer.train_epoch(batches, TrainState(), lambda: False)
    seconds, images = clock(trainer.device) - start, setup.steps * size
    return Measurement(seconds, images, flops * images, device_memory(trainer.device))


def train_small(setup: BenchmarkConfig) -> Measurement:
    """The same on the small canvas."""
    return train(replace(setup, canvas=SMALL_CANVAS, steps=setup.steps * _SMALL_STEPS))


def train_network(setup: BenchmarkConfig) -> Measurement:
    """Training steps on one batch that lies on the device: what the network alone takes."""
    from common.training.trainer import TrainState

    trainer, lesions = make_trainer(setup), lesion_batches(setup)
    batch = next(lesions.batches(trainer.recipe.batch_size))
    trainer.train_epoch(repeat(batch, warm_steps(trainer.device)), TrainState(), lambda: False)
    start = clock(trainer.device)
    trainer.train_epoch(repeat(batch, setup.steps), TrainState(), lambda: False)
    return Measurement(clock(trainer.device) - start, setup.steps * len(batch.rows))


def multiply(setup: BenchmarkConfig) -> Measurement:
    """Products of square matrices, in the precision of the training: the most that the hardware gives."""
    import torch

    from common.training.device import pick_device, pick_precision, set_math_flags

    device = pick_device(setup.device)
    precision = pick_precision(setup.precision, device)
    set_math_flags(device, precision)
    side = 8192 if device.type == "cuda" else 1024
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    times = 20
    for _ in range(3):
        left @ right
    start = clock(device)
    for _ in range(times):
        left @ right
    return Measurement(clock(device) - start, times, 2.0 * side**3 * times)


def dark_network(setup: BenchmarkConfig, device: "torch.device") -> "TrainedModel":
    """The network of the setup as an evaluation has it, but for its weights; see `find_dark`."""
    import torch

    from common.model import build_network
    from common.training.checkpoint import TrainedModel

    run = setup.run()
    assert run.clusters and run.protocol
    torch.manual_seed(run.seed)
    network = find_dark(build_network(run.recipe.method, setup.encoder, run.clusters))
    network.to(device).to(memory_format=torch.channels_last).eval()
    return TrainedModel(network, run.recipe.method, setup.encoder, setup.canvas, run.clusters, run.protocol, {})


def evaluate(setup: BenchmarkConfig) -> Measurement:
    """Predict and score, batch by batch."""
    from common.data.loader import LesionLoader
    from common.evaluation.evaluate import score as score_lesions
    from common.inference.predictor import Predictor
    from common.training.device import pick_device, pick_precision, set_math_flags

    device = pick_device(setup.device)
    precision = pick_precision(setup.precision, device)
    set_math_flags(device, precision)
    predictor = Predictor(dark_network(setup, device), device, setup.precision)
    prepared = LesionDataset.open(setup.prepared)
    size = setup.scripts.recipe.batch_size
    rows = setup.rows(prepared)[: setup.steps * size]
    for which in (rows[:size], rows):  # the first is for warming up
        start = clock(device)
        lesions = LesionLoader(prepared, which, "ellipse", setup.canvas, device)
        score_lesions(predictor, lesions, prepared.array("truth"), size)
    return Measurement(clock(device) - start, len(rows), 0.0, device_memory(device))
