"""Timed runs in processes of their own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import HAM_A1class_train
from common.benchmark import published, runner
from common.benchmark.runner import (
    Measurement,
    TimedRun,
    interleave,
    make_config,
    resident_memory,
    run_in_subprocess,
)
from common.data.dataset import LesionDataset
from common.utils.errors import UserError


def indices(count: int) -> np.ndarray:
    return np.arange(count)[::-1].copy()


def test_a_function_runs_in_another_process_whose_memory_is_measured():
    small = run_in_subprocess(indices, 4)
    assert small.measurement.tolist() == [3, 2, 1, 0]
    large = run_in_subprocess(indices, 5_000_000)  # 40 MB, twice
    assert len(large.measurement) == 5_000_000
    assert large.memory > small.memory + 60e6
    assert large.wall_seconds > 0
    assert large.gpu_memory == 0


def memory_of_arrays(path: Path) -> list[dict[str, int]]:
    """Memory before an array of 32 MB is mapped and one of 64 MB is made, and after."""
    before = {kind: resident_memory(kind) for kind in ("RssAnon", "RssFile")}
    mapped = np.load(path, mmap_mode="r")
    assert mapped.sum() == 4e6
    own = np.ones(8_000_000)
    after = {kind: resident_memory(kind) for kind in ("RssAnon", "RssFile")}
    assert own.sum() == 8e6
    return [before, after]


def test_kinds_of_memory_differ(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(4_000_000))
    # In a fresh process: here, the array could be made in memory that earlier tests have left.
    before, after = run_in_subprocess(memory_of_arrays, tmp_path / "a.npy").measurement
    assert 25e6 < after["RssFile"] - before["RssFile"] < 60e6
    assert 50e6 < after["RssAnon"] - before["RssAnon"] < 100e6


def test_an_error_in_the_other_process_is_raised_here(phantom_ham, tmp_path):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    config = make_config(HAM_A1class_train.RECIPE, dataset, data=phantom_ham, scratch=tmp_path, steps=1, lesions=1)
    with pytest.raises(UserError, match="missing or unfinished"):
        run_in_subprocess(published.prepare, replace(config, prepared=tmp_path / "prepared"))


def test_the_configuration_is_a_training_with_the_folders_protocol(phantom_ham, tmp_path):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    config = make_config(
        HAM_A1class_train.RECIPE, dataset, data=phantom_ham, scratch=tmp_path, steps=1, lesions=30, compile=True
    )
    assert (config.prepared, config.protocol, config.canvas) == (dataset.folder, "released", (384, 480))
    assert (config.encoder, config.encoder_weights, config.clusters, config.compile) == ("resnet101", "none", 4, True)
    opened, rows = config.open_lesions()
    assert len(opened.lesions) == 40 and rows.tolist() == list(range(30))


def test_functions_run_in_turn(monkeypatch, capsys):
    calls = []

    def run(function, config) -> TimedRun:
        calls.append(function)
        return TimedRun(Measurement(len(calls), 10), 4.0, 100, 0)

    monkeypatch.setattr(runner, "run_in_subprocess", run)
    first, second = published.load, published.train
    runs = interleave([first, second], None, 2)
    assert calls == [first, second, first, second]
    assert [run.measurement.seconds for run in runs[second]] == [2, 4]
    assert capsys.readouterr().err.splitlines()[2] == "round 2 of 2, published.load: 4.0 s"
