"""What `make gpu` measures: training steps, an epoch and an evaluation, the published way, matrix multiplication."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, product, repeat
from typing import Literal

import numpy as np

from common.benchmark import ours, published
from common.benchmark.runner import BenchmarkConfig, Work, clock
from common.patches import CANVAS, SMALL_CANVAS
from common.recipe import A1CLASS, ACOSEG
from common.run.discover import find_methods

EPOCH_LESIONS = 2000
_SCORED_LESIONS = 1002

Numbers = dict[str, float]
Precision = Literal["bf16", "fp32"]


Part = tuple[str, Callable[[], Numbers]]  # a measurement: what it is called, and a picklable function


def time_steps(config: BenchmarkConfig) -> Numbers:
    """Training steps on one batch that stays on the GPU.

    Returns:
        Images per second; milliseconds per step on the GPU, and on the host, which only launches kernels; the GPU's
        utilisation; seconds of the first step, in which cuDNN chooses its convolutions.
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
    with profile(activities=[ProfilerActivity.CUDA] if config.device != "cpu" else None, acc_events=True) as record:
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
            yield label, partial(time_steps, replace(at_size, recipe=recipe, precision=precision, graph=graph))
        yield f"published way, training, {size}", partial(time_work, published.train, at_size)
        for batch_size in (32, 64):
            batched = replace(at_size, recipe=replace(config.recipe, batch_size=batch_size))
            yield f"step, A1+L, {size}, bf16, graph, batch {batch_size}", partial(time_steps, batched)
        yield f"epoch of {EPOCH_LESIONS}, {size}", partial(time_epoch, replace(large, canvas=canvas))
        yield f"evaluation of {_SCORED_LESIONS}, {size}", partial(time_evaluation, at_size)
        compiled = replace(at_size, compile=True, graph=False)
        yield f"step, A1+L, {size}, bf16, compiled", partial(time_steps, compiled)
    for precision in full:
        multiply = partial(time_work, ours.multiply, replace(config, precision=precision))
        yield f"matrix multiplication, {precision}", multiply
