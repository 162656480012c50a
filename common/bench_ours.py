"""The project's own way, as `bench` measures it: the functions that the scripts call."""

import time
from dataclasses import replace
from importlib import import_module
from itertools import islice, repeat
from typing import TYPE_CHECKING

import numpy as np

from common.contest import Setup, Work, find_dark
from common.patches import SMALL_CANVAS
from common.prepared import Prepared

if TYPE_CHECKING:  # preparing and scoring do without torch, and its memory would be counted as theirs
    import torch

    from common.checkpoint import Trained
    from common.dataset import LesionBatches
    from common.trainer import Trainer

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


def prepare(setup: Setup, *flags: str) -> Work:
    """The dataset's own script, over all of its data."""
    import sklearn.cluster  # noqa: F401 - imports belong to the start

    script = setup.scripts.recipe.dataset.prepare_script
    main = import_module(script.removesuffix(".py")).main
    asked = Prepared.load(setup.prepared).content
    made = setup.scratch / "prepared"
    settings = ["--protocol", asked["protocol"], "--clusters", str(asked["clusters"]), "--force", *flags]
    start = time.monotonic()
    main(["--data", str(setup.data), "--prepared", str(made), *settings])
    return Work(time.monotonic() - start, len(Prepared.load(made).lesions))


def prepare_without_grabcut(setup: Setup) -> Work:
    """The same, ellipses only."""
    return prepare(setup, "--no-grabcut")


def score(setup: Setup) -> Work:
    """All figures of ellipses against the truth, on one core."""
    import cv2

    from common.metrics import lesion_figures

    cv2.setNumThreads(1)
    prepared = Prepared.load(setup.prepared)
    rows = setup.rows(prepared)[:LESIONS_SCORED]
    truth, ellipse = prepared.array("truth")[rows], prepared.array("ellipse")[rows]
    lesion_figures(truth[0], ellipse[0])
    start = time.monotonic()
    for one, other in zip(truth, ellipse, strict=True):
        lesion_figures(one, other)
    return Work(time.monotonic() - start, len(rows))


def lesion_batches(setup: Setup) -> "LesionBatches":
    """The lesions of the setup."""
    from common.dataset import LesionBatches
    from common.device import pick_device

    prepared = Prepared.load(setup.prepared)
    return LesionBatches(prepared, setup.rows(prepared), "ellipse", setup.canvas, pick_device(setup.device))


def make_trainer(setup: Setup) -> "Trainer":
    """The network of the setup, ready to be trained as the training scripts do it."""
    from common.device import pick_device
    from common.distributed import WHOLE
    from common.train import build_trainer

    return build_trainer(setup.run(), pick_device(setup.device), WHOLE)


def load(setup: Setup) -> Work:
    """Batches on the device, ready for the network."""
    lesions = lesion_batches(setup)
    start = clock(lesions.device)
    served = sum(len(batch.rows) for batch in lesions.batches(setup.scripts.recipe.batch_size))
    return Work(clock(lesions.device) - start, served)


def train(setup: Setup) -> Work:
    """Training steps with the loading of their batches."""
    from common.model import count_flops
    from common.resume import Standing

    trainer, lesions = make_trainer(setup), lesion_batches(setup)
    size, warm = trainer.recipe.batch_size, warm_steps(trainer.device)
    order = np.arange((warm + setup.steps) * size) % len(lesions)
    batches = lesions.batches(size, order)
    flops = count_flops(trainer.network, setup.canvas)
    trainer.epoch(islice(batches, warm), Standing(), lambda: False)
    start = clock(trainer.device)
    trainer.epoch(batches, Standing(), lambda: False)
    seconds, images = clock(trainer.device) - start, setup.steps * size
    return Work(seconds, images, flops * images, device_memory(trainer.device))


def train_small(setup: Setup) -> Work:
    """The same on the small canvas."""
    return train(replace(setup, canvas=SMALL_CANVAS, steps=setup.steps * _SMALL_STEPS))


def train_network(setup: Setup) -> Work:
    """Training steps on one batch that lies on the device: what the network alone takes."""
    from common.resume import Standing

    trainer, lesions = make_trainer(setup), lesion_batches(setup)
    batch = next(lesions.batches(trainer.recipe.batch_size))
    trainer.epoch(repeat(batch, warm_steps(trainer.device)), Standing(), lambda: False)
    start = clock(trainer.device)
    trainer.epoch(repeat(batch, setup.steps), Standing(), lambda: False)
    return Work(clock(trainer.device) - start, setup.steps * len(batch.rows))


def multiply(setup: Setup) -> Work:
    """Products of square matrices, in the precision of the training: the most that the hardware gives."""
    import torch

    from common.device import pick_device, pick_precision, tune

    device = pick_device(setup.device)
    precision = pick_precision(setup.precision, device)
    tune(device, precision)
    side = 8192 if device.type == "cuda" else 1024
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    times = 20
    for _ in range(3):
        left @ right
    start = clock(device)
    for _ in range(times):
        left @ right
    return Work(clock(device) - start, times, 2.0 * side**3 * times)


def dark_network(setup: Setup, device: "torch.device") -> "Trained":
    """The network of the setup as an evaluation has it, but for its weights; see `find_dark`."""
    import torch

    from common.checkpoint import Trained
    from common.model import build_network

    run = setup.run()
    assert run.clusters and run.protocol
    torch.manual_seed(run.seed)
    network = find_dark(build_network(run.recipe.method, setup.encoder, run.clusters))
    network.to(device).to(memory_format=torch.channels_last).eval()
    return Trained(network, run.recipe.method, setup.encoder, setup.canvas, run.clusters, run.protocol, {})


def evaluate(setup: Setup) -> Work:
    """Predict and score, batch by batch."""
    from common.dataset import LesionBatches
    from common.device import pick_device, pick_precision, tune
    from common.evaluate import score as score_lesions

    device = pick_device(setup.device)
    precision = pick_precision(setup.precision, device)
    tune(device, precision)
    trained = dark_network(setup, device)
    prepared = Prepared.load(setup.prepared)
    size = setup.scripts.recipe.batch_size
    rows = setup.rows(prepared)[: setup.steps * size]
    for which in (rows[:size], rows):  # the first is for warming up
        start = clock(device)
        lesions = LesionBatches(prepared, which, "ellipse", setup.canvas, device)
        score_lesions(trained, lesions, prepared.array("truth"), size, precision)
    return Work(clock(device) - start, len(rows), 0.0, device_memory(device))
