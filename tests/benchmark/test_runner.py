"""Work in processes of its own, measured."""

import numpy as np
import pytest
import torch
from torch import nn

from common.benchmark import runner as contest
from common.benchmark.runner import (
    BenchmarkConfig,
    Measurement,
    TimedRun,
    compare,
    find_dark,
    interleave,
    resident,
    run_in_subprocess,
)
from common.utils.errors import UserError


def test_a_function_runs_in_another_process_and_its_memory_is_told():
    small = run_in_subprocess("patches:mirror_index", 3, 2, 3)
    assert small.work.tolist() == [2, 1, 0, 1, 2, 1, 0, 1]
    large = run_in_subprocess("patches:mirror_index", 120, 0, 5_000_000)  # 40 MB of indices, several times over
    assert len(large.work) == 5_000_120
    assert large.memory > small.memory + 80e6
    assert large.whole > 0


def test_memory_is_told_apart(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(4_000_000))
    before = {kind: resident(kind) for kind in ("RssAnon", "RssFile")}
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert mapped.sum() == 4e6
    own = np.ones(8_000_000)
    after = {kind: resident(kind) for kind in ("RssAnon", "RssFile")}
    assert 25e6 < after["RssFile"] - before["RssFile"] < 60e6
    assert 50e6 < after["RssAnon"] - before["RssAnon"] < 100e6
    assert own.sum() == 8e6


def test_an_error_in_the_other_process_is_raised_here(tmp_path):
    setup = BenchmarkConfig(tmp_path, "A1", tmp_path, tmp_path / "prepared", tmp_path, "resnet18", (128, 128), 1, 1)
    with pytest.raises(UserError, match="missing or unfinished"):
        run_in_subprocess("bench_published:prepare", setup)


def _outcome(seconds: float, items: int = 10) -> TimedRun:
    return TimedRun(Measurement(seconds, items), seconds + 1, 100)


def test_medians_are_compared_and_rounds_told():
    peer, ours = map(_outcome, (20.0, 30.0, 10.0)), map(_outcome, (5.0, 5.0, 10.0))
    ratio = compare(list(peer), list(ours), lambda outcome: outcome.work.seconds / outcome.work.items)
    # Medians 20 and 5 for 10 items each; round by round 4, 6 and 1.
    assert ratio == (2.0, 0.5, 4.0, 1.0, 6.0)


def test_turns_are_taken(monkeypatch):
    done, told = [], []

    def run(name: str, setup: BenchmarkConfig) -> TimedRun:
        done.append(name)
        return _outcome(len(done))

    monkeypatch.setattr(contest, "run_alone", run)
    outcomes = interleave(["a:x", "b:x"], None, 2, told.append)
    assert done == ["a:x", "b:x", "a:x", "b:x"]
    assert [outcome.work.seconds for outcome in outcomes["b:x"]] == [2, 4]
    assert told[2] == "round 2 of 2, a:x: 4.0 s"


def test_an_untrained_network_finds_the_dark_disc():
    class Blind(nn.Module):
        def forward(self, images):
            return {"mask": images.mean(1, keepdim=True) * 0 - 9, "cluster": images.mean((2, 3))}

    y, x = np.mgrid[:128, :128]
    disc = np.hypot(y - 64, x - 64) < 25
    image = torch.from_numpy(np.where(disc, -1, 1)).float().expand(1, 3, -1, -1)
    outputs = find_dark(Blind())(image)
    found = (outputs["mask"] > 0)[0, 0].numpy()
    # The mean over 15 px lets it reach a few px over the border.
    assert found[disc].mean() > 0.98
    assert not found[np.hypot(y - 64, x - 64) > 25 + 8].any()
    assert outputs["cluster"].shape == (1, 3)
