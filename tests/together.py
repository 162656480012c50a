"""What each of several processes runs in tests/training/test_distributed.py: python together.py DATA OUT.json"""

import json
import sys
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import numpy as np
import torch

import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import HAM_data
from common.data.augment import Augmentation
from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.recipe import Recipe
from common.run.cli import parse_train
from common.training.config import TrainConfig
from common.training.distributed import World, process_group
from common.training.train import build_trainer
from common.training.trainer import step_groups
from helpers import NETWORK

RECIPES = {
    script.RECIPE.method.name: script.RECIPE for script in (HAM_A1class_train, HAM_Acoseg_train, HAM_A1recist_train)
}
# Adam's first step moves a weight by lr whatever its gradient, so that rounding decides about those of no gradient:
# at the published rates even one process run twice with other threads differs by 1e-3 in the second loss.
RATES = {"float32": 1e-5, "float64": 1e-3}
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}
STEPS = {"float32": 5, "float64": 2}
COMPARED = [*product(RECIPES, ["float64"]), ("A1class", "float32")]
CPU = torch.device("cpu")


def make_config(recipe: Recipe, data: Path) -> TrainConfig:
    """A training in float32 on the CPU."""
    flags = f"{NETWORK} --batch-size 8 --precision fp32 --device cpu"
    return parse_train(recipe, None, [*flags.split(), "--data", str(data)])


def first_losses(config: TrainConfig, world: World, dtype: str) -> list[dict[str, float]]:
    """The losses of a training's first steps without dropout, each that of the whole batch.

    Where weights are averaged, the last step has the average's sum of squares too.
    """
    config = replace(config, recipe=replace(config.recipe, lr=RATES[dtype]))
    method = config.recipe.method
    dataset = LesionDataset.open_for(config.prepared, HAM_data.DATASET, "released")
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        trainer = build_trainer(config, CPU, world)
    finally:
        torch.set_default_dtype(torch.float32)
    for module in trainer.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    trainer.network.train()
    shard = {"rank": world.rank, "world_size": world.size, "paired": method.paired, "prompt": config.prompt != "none"}
    loader = LesionLoader(dataset, dataset.rows("train"), config.target, (128, 128), CPU, **shard)
    varied = [Augmentation(config.seed, epoch, config.flips, config.jitter / 100) for epoch in range(2)]
    batches = (batch for epoch in range(2) for batch in loader.batches(8, np.arange(28), "drop", 0, varied[epoch]))
    batches = (batch._replace(images=batch.images.to(getattr(torch, dtype))) for batch in batches)
    steps = (groups for batch in batches for groups in step_groups(method, batch))
    losses = [world.all_reduce_sum(trainer.step(groups)) for groups in islice(steps, STEPS[dtype])]
    if trainer.average is not None:
        losses[-1]["average"] = world.size * sum(weight.square().sum().item() for weight in trainer.result.parameters())
    return [{name: value / world.size for name, value in step.items()} for step in losses]


def uneven_batch(world: World, dtype: torch.dtype) -> list[torch.Tensor]:
    """Batch normalisation of two images in the first process and three in the second, or of all five in one.

    Returns:
        What becomes of the last images and of their gradients, the weights' gradient, and the running statistics.
    """
    torch.manual_seed(0)
    images, gradient = (40 + 3 * torch.randn(5, 6, 7, 4)).to(dtype), torch.randn(5, 6, 7, 4).to(dtype)
    parts = [slice(5)] if world.size == 1 else [slice(2), slice(2, 5)]
    layer = torch.nn.BatchNorm2d(6, dtype=torch.promote_types(dtype, torch.float32))
    torch.nn.init.uniform_(layer.weight)
    forward = world.distribute(layer, CPU)
    images = images[parts[world.rank]].requires_grad_()
    out = forward(images)
    out.backward(gradient[parts[world.rank]])
    weights = torch.stack([layer.weight.grad, layer.bias.grad]) * world.size  # the processes' mean
    return [out[-3:].detach(), images.grad[-3:], weights, layer.running_mean, layer.running_var]


def spared_gradients(world: World) -> list[float]:
    """The first weight's gradient in three steps of a network whose second layer takes no part."""
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ModuleList([torch.nn.Linear(1, 1)]))
    network.forward = lambda value: network[0](value)
    parallel, gradients = world.distribute(network, CPU), []
    for _ in range(3):
        network.zero_grad()
        parallel(torch.full((1, 1), float(world.rank))).sum().backward()
        gradients.append(network[0].weight.grad.item())
    return gradients


if __name__ == "__main__":
    data, out = map(Path, sys.argv[1:])
    with process_group(CPU) as world:
        losses = {
            f"{name} {dtype}": first_losses(make_config(RECIPES[name], data), world, dtype) for name, dtype in COMPARED
        }
        losses["spared"] = spared_gradients(world)
        normalised = {dtype: uneven_batch(world, dtype) for dtype in TOLERANCES}
        if world.is_main:
            out.write_text(json.dumps(losses))
        else:
            torch.save(normalised, out.with_suffix(".pt"))
