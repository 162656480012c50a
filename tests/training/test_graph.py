"""A training whose step is replayed from a graph is the training without; recording is stood in for on the CPU."""

import pytest
import torch

import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import HAM_data
from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.recipe import Recipe
from common.run.cli import parse_train
from common.training import graph as module
from common.training.distributed import SINGLE_PROCESS
from common.training.graph import GraphedStep
from common.training.train import build_trainer, falling_rate
from common.training.trainer import TrainState
from helpers import NETWORK

CPU = torch.device("cpu")


@pytest.fixture
def recorded(monkeypatch) -> list[str]:
    """What was done, with a stand-in for CUDA: nothing is computed until a replay carries out the step."""
    done = []

    def capture(step):
        losses = {}

        def replay():
            done.append("replayed")
            losses.update(step())

        done.append("captured")
        return losses, replay

    def run_aside(step):
        done.append("aside")
        return step()

    monkeypatch.setattr(module, "capture", capture)
    monkeypatch.setattr(module, "run_aside", run_aside)
    return done


def train(recipe: Recipe, data, *, graphed: bool, flags: str = "") -> tuple[dict[str, float], torch.nn.Module]:
    """The losses of an epoch of five batches of 4 lesions, then one of 2; of four batches where they are halved."""
    known = f"{NETWORK} --batch-size 4 --device cpu"
    config = parse_train(recipe, None, [*known.split(), *flags.split(), "--data", str(data), "--precision", "fp32"])
    trainer = build_trainer(config, CPU, SINGLE_PROCESS)
    if graphed:
        trainer.graphed = GraphedStep(trainer.optimize, 4)
        if config.falling:  # fused Adam takes a tensor, as it needs it on a GPU
            for group in trainer.optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"])
    dataset, state = LesionDataset.open_for(config.prepared, HAM_data.DATASET), TrainState()
    prompt, paired = config.prompt == "recist", recipe.method.paired
    rows = dataset.rows("train")[: 16 if paired else 22]
    loader = LesionLoader(dataset, rows, config.target, (128, 128), CPU, paired=paired, prompt=prompt)
    torch.manual_seed(1)
    rate = (
        falling_rate(config.recipe.lr, range(1, 3), 600) if config.falling else None
    )  # the warm-up of a long training
    trainer.train_epoch(loader.batches(4), state, lambda: False, rate)
    return state.sums, trainer.result


@pytest.mark.parametrize(
    "recipe",
    [HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE, HAM_A1recist_train.RECIPE],
    ids=lambda recipe: recipe.method.name,
)
def test_losses_and_weights_are_those_without(recipe, phantom_ham, recorded):
    expected, network = train(recipe, phantom_ham, graphed=False)
    assert not recorded
    sums, replayed = train(recipe, phantom_ham, graphed=True)
    steps = 8 if recipe.method.paired else 5  # of full size; the one of two lesions is taken as it is
    assert recorded == ["aside"] * 3 + ["captured"] + ["replayed"] * (steps - 3)
    tolerance = 1e-6 if "falling" not in recipe.method.flags else 1e-4  # that rate is a float32 in a graph
    assert sums == pytest.approx(expected, rel=tolerance)
    for value, other in zip(network.state_dict().values(), replayed.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=10 * tolerance, atol=10 * tolerance)


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is(phantom_ham, recorded, monkeypatch, capsys):
    def fail(step):
        recorded.append("failed")
        raise RuntimeError("operation not permitted when stream is capturing")

    expected, _ = train(HAM_A1_train.RECIPE, phantom_ham, graphed=False)
    monkeypatch.setattr(module, "capture", fail)
    sums, _ = train(HAM_A1_train.RECIPE, phantom_ham, graphed=True)
    assert recorded == ["aside"] * 3 + ["failed"]
    assert sums == pytest.approx(expected, rel=1e-6)
    assert capsys.readouterr().err == (
        "note: no CUDA graph of the training step (operation not permitted when stream is capturing); "
        "going on without\n"
    )


def test_a_lack_of_memory_is_told_as_such(phantom_ham, recorded, monkeypatch):
    def fail(step):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "capture", fail)
    with pytest.raises(torch.OutOfMemoryError):
        train(HAM_A1_train.RECIPE, phantom_ham, graphed=True)
