"""The run that measures a GPU, tried on the CPU: its checks and table, and that one failure leaves the rest."""

import json
from functools import partial

import pytest
import torch

from common.benchmark import gpu as module
from common.benchmark.gpu import main, run_checks, run_parts
from common.benchmark.runner import TimedRun, make_config


def works(number: float) -> dict[str, float]:
    return {"step_ms": number}


def fails() -> dict[str, float]:
    raise RuntimeError("no kernel image")


@pytest.fixture
def in_process(monkeypatch):
    """Other processes would only take longer."""
    monkeypatch.setattr(module, "run_in_subprocess", lambda function, *given: TimedRun(function(*given), 0.0, 0, 0))


@pytest.fixture
def pretend_gpu(in_process, monkeypatch):
    """The CPU in a GPU's place, and an epoch of few lesions."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        module, "make_config", lambda *given, **settings: make_config(*given, **settings | {"device": "cpu"})
    )
    monkeypatch.setattr(module, "EPOCH_LESIONS", 50)
    monkeypatch.setattr(module, "facts", lambda: {"gpus": ["A card"]})


def test_one_failure_leaves_the_rest(in_process, capsys):
    planned = iter([("one", partial(works, 1.5)), ("two", fails), ("three", partial(works, 2.0))])
    one, two, three = run_parts(planned, 100)
    assert one == {"part": "one", "step_ms": 1.5, "gpu_memory_MiB": 0}
    assert two == {"part": "two", "error": "RuntimeError: no kernel image"}
    assert three["step_ms"] == 2
    assert capsys.readouterr().err.splitlines()[:2] == [
        "one: step ms 1.5, gpu memory MiB 0",
        "two: RuntimeError: no kernel image",
    ]
    assert [*run_parts(iter([("late", partial(works, 1.0))]), -1)] == [{"part": "late", "error": "no time was left"}]


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


def test_the_table_of_a_run(pretend_gpu, phantom_ham, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "parts", lambda *_: iter([("a step", partial(works, 3.0)), ("b", fails)]))
    main(["ham", "--data", str(phantom_ham), "--encoder", "resnet18", "--out", str(tmp_path)])
    assert (tmp_path / "gpu.md").read_text().splitlines() == [
        "| A card | measured |",
        "| --- | --- |",
        "| a step | step ms 3, gpu memory MiB 0 |",
        "| b | RuntimeError: no kernel image |",
    ]
    assert [row["part"] for row in json.loads((tmp_path / "gpu.json").read_text())["parts"]] == ["a step", "b"]


def test_an_interrupted_run_leaves_what_it_had(pretend_gpu, phantom_ham, tmp_path, monkeypatch):
    def interrupted() -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "parts", lambda *_: iter([("a step", partial(works, 3.0)), ("b", interrupted)]))
    with pytest.raises(KeyboardInterrupt):
        main(["ham", "--data", str(phantom_ham), "--encoder", "resnet18", "--out", str(tmp_path)])
    assert [row["part"] for row in json.loads((tmp_path / "gpu.json").read_text())["parts"]] == ["a step"]


def test_facts_of_this_machine():
    assert {"gpus", "cuda", "cudnn", "processor"} <= module.facts().keys()
