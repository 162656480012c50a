"""What holds on a GPU, checked on one: pytest tests/on_gpu.py, or `make gpu`. Left out of `make test`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import HAM_data
from common.data.dataset import LesionDataset
from common.data.loader import Batch, LesionLoader
from common.model import CanvasTransform
from common.recipe import Recipe
from common.run.cli import parse_train
from common.training import train as training
from common.training.config import TrainConfig
from common.training.device import set_math_flags
from common.training.distributed import SINGLE_PROCESS
from common.training.resume import StateSaver, load_state
from common.training.train import build_trainer, train
from common.training.trainer import Trainer, TrainState, step_groups
from common.utils.errors import Interrupted, UserError
from common.utils.files import read_csv
from helpers import ROOT, formula_network, golden_masks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
RECIPES = [HAM_A1_train.RECIPE, HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE, HAM_A1recist_train.RECIPE]
SMALL = "--encoder resnet18 --encoder-weights none --canvas 128x128 --clusters 4 --batch-size 4 --lr 1e-4".split()
methods = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.method.name)


def configure(recipe: Recipe, data: Path, *flags: str) -> TrainConfig:
    return parse_train(recipe, None, [*SMALL, "--data", str(data), *flags])


def without_dropout(trainer: Trainer) -> Trainer:
    for module in trainer.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    return trainer


def batches(config: TrainConfig, device: torch.device) -> Iterator[Batch]:
    dataset = LesionDataset.open_for(config.prepared, HAM_data.DATASET)
    loader = LesionLoader(
        dataset, dataset.rows("train"), config.target, config.canvas, device,
        paired=config.recipe.method.paired, prompt=config.prompt == "recist",
    )  # fmt: skip
    return loader.batches(config.recipe.batch_size, remainder="drop")


def gradients(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.grad.flatten().cpu() for weight in network.parameters() if weight.grad is not None])


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.3)])
@methods
def test_a_step_is_that_of_the_cpu(recipe, precision, tolerance, phantom_ham):
    results = []
    for device, name in ((CPU, "fp32"), (GPU, precision)):
        config = configure(recipe, phantom_ham, "--device", device.type, "--precision", name, "--no-graph")
        trainer = without_dropout(build_trainer(config, device, SINGLE_PROCESS))
        trainer.network.train()
        groups = next(step_groups(recipe.method, next(batches(config, device))))
        losses = {key: value.item() for key, value in trainer.step(groups).items()}
        results.append((losses, gradients(trainer.network)))
    (expected, slopes), (losses, ours) = results
    assert losses == pytest.approx(expected, rel=tolerance)
    assert torch.cosine_similarity(slopes, ours, dim=0) > 1 - tolerance


@pytest.mark.parametrize("recipe", [HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE])
def test_logits_are_the_published_codes(recipe, shared, ham_prepared):
    batch = next(LesionLoader(ham_prepared, np.arange(4), "ellipse", (384, 480), CPU).batches(4))
    network = formula_network(recipe.method, shared).eval()
    set_math_flags(GPU, "fp32")
    with torch.no_grad():
        expected = network(batch.images)
        outputs = network.to(GPU)(batch.images.to(GPU))
    for name, value in expected.items():
        torch.testing.assert_close(outputs[name].cpu(), value, rtol=1e-3, atol=1e-4 * value.abs().max().item())


@pytest.mark.parametrize("name", ["A1", "A1class", "Acoseg_pairs_of_2"])
def test_losses_are_the_published_codes(name, shared, ham_prepared):
    golden = json.loads((shared / "golden" / "trajectories_resnet18.json").read_text())
    recipe = dict(zip(("A1", "A1class", "Acoseg_pairs_of_2"), RECIPES, strict=False))[name]
    order, transform = golden["order"], CanvasTransform((384, 480))
    images = transform(torch.from_numpy(ham_prepared.array("images")[order]))
    masks = transform.masks(torch.from_numpy(golden_masks(shared, "ham10000", "ellipse")[order]))
    tensors = (tensor.to(GPU) for tensor in (images, masks, torch.tensor(golden["labels"])))
    network = formula_network(recipe.method, shared).train().to(GPU)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, fused=True)
    set_math_flags(GPU, "fp32")
    trainer = Trainer(network, optimizer, recipe, not recipe.method.accumulates, GPU, "fp32")
    steps = [
        groups for half in Batch(*tensors, np.array(order)).halves() for groups in step_groups(recipe.method, half)
    ]
    # Rounding is amplified from step to step, on any hardware.
    for groups, expected, tolerance in zip(steps, golden[name], (1e-4, 1e-2, 0.1, 0.1), strict=False):
        assert trainer.step(groups)["total"].item() == pytest.approx(expected[0], rel=tolerance)


@methods
def test_batches_are_the_same_resident_or_not(recipe, phantom_ham, monkeypatch):
    config, found = configure(recipe, phantom_ham), []
    for device, resident in ((CPU, False), (GPU, True), (GPU, False)):
        monkeypatch.setattr(LesionLoader, "_fits_device", lambda *_, resident=resident: resident)
        found.append(
            [(batch.images.cpu(), batch.masks.cpu(), batch.clusters.cpu()) for batch in batches(config, device)]
        )
    for one, two, three in zip(*found, strict=True):
        for a, b, c in zip(one, two, three, strict=True):
            differs = ~torch.isclose(b, a, rtol=1e-5, atol=1e-5)
            assert differs.float().mean() < 1e-5  # a GPU may round a pixel over the edge of a mark's quarters
            assert torch.equal(b, c)


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@methods
def test_no_step_waits_for_the_gpu(recipe, precision, graph, phantom_ham):
    config = configure(recipe, phantom_ham, "--precision", precision, *[] if graph else ["--no-graph"])
    trainer, taken = build_trainer(config, GPU, SINGLE_PROCESS), batches(config, GPU)
    trainer.network.train()
    for _ in range(5):  # also those that a graph is captured in
        for groups in step_groups(recipe.method, next(taken)):
            trainer.step(groups)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for groups in step_groups(recipe.method, next(taken)):
            trainer.step(groups)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("flags", ["", "--falling"])
@methods
def test_a_graph_changes_no_loss(recipe, flags, phantom_ham):
    sums = []
    for graph in ([], ["--no-graph"]):
        config = configure(recipe, phantom_ham, "--precision", "fp32", *flags.split(), *graph)
        trainer, state = without_dropout(build_trainer(config, GPU, SINGLE_PROCESS)), TrainState()
        assert (trainer.graphed is None) == bool(graph)
        rate = training.falling_rate(config.recipe.lr, range(1, 3), 7) if config.falling else None
        trainer.train_epoch(batches(config, GPU), state, lambda: False, rate)
        sums.append({name: value / state.steps for name, value in state.sums.items()})
    assert sums[0] == pytest.approx(sums[1], rel=0.03)  # a GPU sums in any order, and steps amplify the rounding


@methods
def test_stopped_in_mid_epoch_and_resumed(recipe, phantom_ham, tmp_path, monkeypatch):
    flags = ["--epochs", "2", "--precision", "fp32"]
    train(configure(recipe, phantom_ham, *flags, "--checkpoint", str(tmp_path / "whole.pt")))
    config = configure(recipe, phantom_ham, *flags, "--checkpoint", str(tmp_path / "parts.pt"), "--resume")
    with monkeypatch.context() as patch:
        patch.setattr(training.StopRequest, "__bool__", lambda _: True)
        with pytest.raises(Interrupted):
            train(config)
    train(config)
    # Not bit for bit: a GPU sums in any order. In A1+L, a lost optimizer's state shows at 7e-3.
    whole, parts = (read_csv(tmp_path / f"{name}.history.csv") for name in ("whole", "parts"))
    for one, other in zip(whole, parts, strict=True):
        assert float(one["train_total"]) == pytest.approx(float(other["train_total"]), rel=2e-3)


@methods
def test_a_state_goes_to_the_cpu_and_back(recipe, phantom_ham, tmp_path):
    path, steps = tmp_path / "a.pt", []
    for device in (GPU, CPU, GPU):
        config = configure(recipe, phantom_ham, "--device", device.type, "--precision", "fp32", "--falling")
        trainer, settings = build_trainer(config, device, SINGLE_PROCESS), {"falling": True}
        state = load_state(path, trainer, settings)
        rate = training.falling_rate(config.recipe.lr, range(1, 3), 7)
        trainer.train_epoch(batches(config, device), state, lambda: False, rate)
        steps.append(state.steps)
        with StateSaver(path, trainer, settings) as saver:
            saver.save(state)
    assert steps == [steps[0], 2 * steps[0], 3 * steps[0]]


def test_a_lack_of_memory_says_what_to_try(phantom_ham, tmp_path):
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-3)
    try:
        config = configure(
            HAM_A1_train.RECIPE, phantom_ham, "--canvas", "384x480", "--checkpoint", str(tmp_path / "a.pt")
        )
        config = replace(config, recipe=replace(config.recipe, batch_size=16))
        with pytest.raises(
            UserError, match=r"^out of memory at --batch-size 16 .*; try --batch-size 8 or --canvas 128x128"
        ):
            train(config)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_several_gpus_train_as_one_does_and_stop_together():
    tests = ROOT / "tests" / "training" / "test_distributed.py"  # its trainings take GPUs where there are any
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", str(tests)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
