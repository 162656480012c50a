"""What is measured on a GPU, tried on the CPU."""

from dataclasses import replace

import pytest

import HAM_A1class_train
import HAM_Acoseg_train
from common.benchmark import gpu_parts as module
from common.benchmark import ours
from common.benchmark.runner import BenchmarkConfig, make_config
from common.data.dataset import LesionDataset

ENCODER = "tu-tf_mobilenetv3_small_minimal_100"


@pytest.fixture
def config(phantom_ham, tmp_path) -> BenchmarkConfig:
    settings = {"encoder": ENCODER, "canvas": (128, 128), "device": "cpu", "precision": "fp32", "steps": 1}
    dataset = LesionDataset.open(phantom_ham / "prepared")
    return make_config(
        HAM_A1class_train.RECIPE, dataset, **settings, data=phantom_ham, scratch=tmp_path, lesions=24, compile=False
    )


@pytest.mark.parametrize("recipe", [HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE])
def test_steps(recipe, config):
    numbers = module.time_steps(replace(config, recipe=recipe))
    assert 0 < numbers["host_ms"] <= numbers["step_ms"]
    # A paired method takes two steps on each batch.
    images = numbers["images_per_second"] * numbers["step_ms"] / 1e3
    assert images == pytest.approx(recipe.batch_size / (2 if recipe.method.paired else 1))


def test_an_epoch_and_an_evaluation_in_their_parts(config, monkeypatch):
    numbers = module.time_epoch(config)
    assert numbers["epoch_s"] > numbers["loading_alone_s"] > 0
    assert numbers["saving_s"] > 0 and numbers["training_waits_for_saving_s"] > 0
    monkeypatch.setattr(module, "_SCORED_LESIONS", 16)
    numbers = module.time_evaluation(config)
    assert numbers["predicting_and_scoring_s"] > 0


def test_the_plan_names_every_measurement_once(config):
    planned = list(module.parts(config, config))
    labels = [label for label, _ in planned]
    assert len(set(labels)) == len(labels)
    assert "step, ACoseg, 128x128, fp32, graph" in labels
    by_label = dict(planned)
    assert by_label["step, A1+L, 384x480, bf16, graph, batch 64"].args[0].recipe.batch_size == 64
    assert not by_label["step, A1+L, 128x128, bf16, eager"].args[0].graph
    assert by_label["matrix multiplication, fp32"].args[0] is ours.multiply
