"""What is measured on a GPU, tried on the CPU; and that one failure leaves the rest."""

import json

import pytest
import torch

import HAM_A1class_train
import HAM_Acoseg_train
from common.benchmark import gpu as module
from common.benchmark import ours
from common.benchmark.gpu import Part, main, parts, run_checks, run_parts
from common.benchmark.runner import BenchmarkConfig, TimedRun, make_config
from common.data.dataset import LesionDataset


@pytest.fixture
def config(phantom_ham, tmp_path) -> BenchmarkConfig:
    settings = {"encoder": "resnet18", "canvas": (128, 128), "device": "cpu", "precision": "fp32", "steps": 1}
    dataset = LesionDataset.open(phantom_ham / "prepared")
    return make_config(
        HAM_A1class_train.RECIPE, dataset, **settings, data=phantom_ham, scratch=tmp_path, lesions=24, compile=False
    )


@pytest.mark.parametrize("recipe", [HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE])
def test_steps(recipe, config):
    numbers = module.time_steps(module.replace(config, recipe=recipe))
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


def works(number: float) -> dict[str, float]:
    return {"step_ms": number}


def fails() -> dict[str, float]:
    raise RuntimeError("no kernel image")


@pytest.fixture
def in_process(monkeypatch):
    """Other processes would only take longer."""
    monkeypatch.setattr(module, "run_in_subprocess", lambda function, *given: TimedRun(function(*given), 0.0, 0, 0))


def test_one_failure_leaves_the_rest(in_process, capsys):
    planned = iter([Part("one", works, (1.5,)), Part("two", fails, ()), Part("three", works, (2.0,))])
    one, two, three = run_parts(planned, 100)
    assert one == {"part": "one", "step_ms": 1.5, "gpu_memory_MiB": 0}
    assert two == {"part": "two", "error": "RuntimeError: no kernel image"}
    assert three["step_ms"] == 2
    assert capsys.readouterr().err.splitlines()[:2] == [
        "one: step ms 1.5, gpu memory MiB 0",
        "two: RuntimeError: no kernel image",
    ]
    assert run_parts(iter([Part("late", works, (1.0,))]), -1) == [{"part": "late", "error": "no time was left"}]


def test_checks_are_told_one_by_one(tmp_path):
    path = tmp_path / "checks.py"
    path.write_text("def test_it_holds():\n    pass\n\ndef test_it_fails():\n    assert 1 == 2\n")
    held, failed = run_checks(path, 60)
    assert held == {"part": "check: it holds", "passed": 1.0}
    assert failed["part"] == "check: it fails" and "1 == 2" in failed["error"]
    (missing,) = run_checks(tmp_path / "none.py", 60)
    assert "no tests ran" in missing["error"] or "not found" in missing["error"]


def test_without_a_gpu_it_says_so_and_ends(phantom_ham, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    main(["ham", "--data", str(phantom_ham), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out == "there is no CUDA GPU here that PyTorch can use; nothing is measured\n"
    assert not (tmp_path / "out").exists()


def test_the_table_of_a_run(in_process, phantom_ham, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        module, "make_config", lambda *given, **settings: make_config(*given, **settings | {"device": "cpu"})
    )
    monkeypatch.setattr(module, "_EPOCH_LESIONS", 50)
    monkeypatch.setattr(module, "facts", lambda: {"gpus": ["A card"]})
    monkeypatch.setattr(module, "parts", lambda *_: iter([Part("a step", works, (3.0,)), Part("b", fails, ())]))
    main(["ham", "--data", str(phantom_ham), "--encoder", "resnet18", "--out", str(tmp_path)])
    assert (tmp_path / "gpu.md").read_text().splitlines() == [
        "| A card | measured |",
        "| --- | --- |",
        "| a step | step ms 3, gpu memory MiB 0 |",
        "| b | RuntimeError: no kernel image |",
    ]
    assert [row["part"] for row in json.loads((tmp_path / "gpu.json").read_text())["parts"]] == ["a step", "b"]


def test_the_plan_names_every_measurement_once(config):
    planned = list(parts(config, config))
    labels = [part.label for part in planned]
    assert len(set(labels)) == len(labels)
    assert "step, ACoseg, 128x128, fp32, graph" in labels
    by_label = {part.label: part for part in planned}
    assert by_label["step, A1+L, 384x480, bf16, graph, batch 64"].arguments[0].recipe.batch_size == 64
    assert not by_label["step, A1+L, 128x128, bf16, eager"].arguments[0].graph
    assert by_label["products of matrices, fp32"].arguments[0] is ours.multiply


def test_facts_of_this_machine():
    assert {"gpus", "cuda", "cudnn", "processor"} <= module.facts().keys()
