"""The project's own way, as the benchmark measures it: the functions that the scripts call."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from common.benchmark.runner import BenchmarkConfig, Measurement, clock
from common.data.dataset import LesionDataset
from common.metrics import lesion_metrics
from common.patches import SMALL_CANVAS

if TYPE_CHECKING:  # preparing and scoring run without torch, whose memory would count as theirs
    from torch import nn

    from common.data.loader import Batch, LesionLoader
    from common.training.checkpoint import TrainedModel
    from common.training.trainer import Trainer

_SMALL_STEPS = 5  # on the small canvas for each step on a larger one: they are short
_SCORED_LESIONS = 200


def prepare(config: BenchmarkConfig, *flags: str) -> Measurement:
    """Run the dataset's own script over all of its data, with the settings of the prepared folder."""
    import sklearn.cluster  # noqa: F401 - so that its import is not timed

    script = import_module(config.recipe.dataset.prepare[0].removesuffix(".py"))
    metadata, prepared = LesionDataset.open(config.prepared).metadata, config.scratch / "prepared"
    arguments = ["--data", str(config.data), "--prepared", str(prepared), "--force", *flags]
    arguments += ["--protocol", metadata["protocol"], "--clusters", str(metadata["clusters"])]
    start = time.monotonic()
    script.main(arguments)
    return Measurement(time.monotonic() - start, len(LesionDataset.open(prepared).lesions))


def prepare_without_grabcut(config: BenchmarkConfig) -> Measurement:
    """`prepare`, ellipses only."""
    return prepare(config, "--no-grabcut")


def score(config: BenchmarkConfig, metrics: Callable[[np.ndarray, np.ndarray], object] = lesion_metrics) -> Measurement:
    """Compute all metrics of ellipses against the truth on one core, by the project's or another function of both."""
    cv2.setNumThreads(1)
    dataset, rows = config.open_lesions()
    rows = rows[:_SCORED_LESIONS]
    truths, ellipses = dataset.array("truth")[rows], dataset.array("ellipse")[rows]
    metrics(truths[0], ellipses[0])  # warm-up
    start = time.monotonic()
    for truth, ellipse in zip(truths, ellipses, strict=True):
        metrics(truth, ellipse)
    return Measurement(time.monotonic() - start, len(rows))


def make_loader(config: BenchmarkConfig) -> "LesionLoader":
    """The configured lesions with their ellipses."""
    from common.data.loader import LesionLoader
    from common.training.device import pick_device

    return LesionLoader(*config.open_lesions(), "ellipse", config.canvas, pick_device(config.device))


def load(config: BenchmarkConfig) -> Measurement:
    """Load every lesion once, in batches on the device, ready for the network."""
    loader = make_loader(config)
    start = clock(config.device)
    images = sum(len(batch.rows) for batch in loader.batches(config.recipe.batch_size))
    return Measurement(clock(config.device) - start, images)


def make_trainer(config: BenchmarkConfig) -> "Trainer":
    """The network and its optimizer, as the training scripts build them."""
    from common.training.device import pick_device
    from common.training.distributed import SINGLE_PROCESS
    from common.training.train import build_trainer

    return build_trainer(config, pick_device(config.device), SINGLE_PROCESS)


def time_training(trainer: "Trainer", batches: "Iterable[Batch]") -> float:
    """Train on batches as an epoch does; seconds until the device has finished."""
    from common.training.trainer import TrainState

    start = clock(str(trainer.device))
    trainer.train_epoch(batches, TrainState(), stop=lambda: False)
    return clock(str(trainer.device)) - start


def train(config: BenchmarkConfig) -> Measurement:
    """Training steps, with the loading of their batches."""
    from common.model import count_flops

    trainer, loader = make_trainer(config), make_loader(config)
    batch_size, warm_up = config.recipe.batch_size, config.warm_up
    batches = loader.batches(batch_size, np.arange((warm_up + config.steps) * batch_size) % len(loader))
    flops = count_flops(trainer.network, config.canvas)
    time_training(trainer, islice(batches, warm_up))
    seconds, images = time_training(trainer, batches), config.steps * batch_size
    return Measurement(seconds, images, flops * images)


def train_small(config: BenchmarkConfig) -> Measurement:
    """`train` on the small canvas."""
    return train(replace(config, canvas=SMALL_CANVAS, steps=config.steps * _SMALL_STEPS))


def train_network(config: BenchmarkConfig) -> Measurement:
    """Training steps on one batch that stays on the device: the network alone."""
    trainer = make_trainer(config)
    batch = next(make_loader(config).batches(config.recipe.batch_size))
    time_training(trainer, repeat(batch, config.warm_up))
    return Measurement(time_training(trainer, repeat(batch, config.steps)), config.steps * len(batch.rows))


def multiply(config: BenchmarkConfig) -> Measurement:
    """Products of square matrices in the precision of the training: an upper bound of the hardware's FLOP/s."""
    import torch

    from common.training.device import pick_device, pick_precision, set_math_flags

    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    set_math_flags(device, precision)
    side, products = (1024, 20) if config.device == "cpu" else (8192, 500)  # about a second either way
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    for _ in range(3):  # warm-up
        left @ right
    start = clock(config.device)
    for _ in range(products):
        left @ right
    return Measurement(clock(config.device) - start, products, 2.0 * side**3 * products)


def untrained_model(config: BenchmarkConfig) -> "TrainedModel":
    """A model that an evaluation could have loaded, but for its weights: those that a training would start from."""
    import torch

    from common.model import build_network
    from common.training.checkpoint import TrainedModel

    torch.manual_seed(config.seed)
    method, encoder, clusters = config.recipe.method, config.encoder, config.clusters
    network = build_network(method, encoder, clusters)
    return TrainedModel(network, method, encoder, config.canvas, clusters, config.protocol, {})


def segment_dark(network: "nn.Module") -> "nn.Module":
    """Make an untrained network segment the dark parts of an image: scoring empty masks would take no time."""
    from torch.nn.functional import avg_pool2d
    from torchvision.transforms.functional import center_crop

    def darkness(_: Any, inputs: Any, outputs: Any) -> dict[str, Any]:
        grey = inputs[0].mean(1, keepdim=True)
        local_mean = avg_pool2d(grey, 15, stride=1, padding=7, count_include_pad=False)
        dark = center_crop(grey.mean((2, 3), keepdim=True) - local_mean, outputs["mask"].shape[2:])
        return {**outputs, "mask": outputs["mask"] * 0 + dark}

    network.register_forward_hook(darkness)
    return network


def evaluate(config: BenchmarkConfig) -> Measurement:
    """Predict and score, batch by batch."""
    from common.data.loader import LesionLoader
    from common.evaluation.evaluate import score as score_lesions
    from common.inference.predictor import Predictor
    from common.training.device import pick_device

    model = untrained_model(config)
    segment_dark(model.network)
    predictor = Predictor(model, pick_device(config.device), config.precision)
    (dataset, rows), batch_size = config.open_lesions(), config.recipe.batch_size
    for count in (batch_size, config.scored_lesions):  # the first batch is the warm-up
        start = clock(config.device)
        loader = LesionLoader(dataset, np.sort(np.resize(rows, count)), "ellipse", config.canvas, predictor.device)
        score_lesions(predictor, loader, dataset.array("truth"), batch_size)
    return Measurement(clock(config.device) - start, len(loader))
