"""The published way's measurements: how much work each has done."""

from dataclasses import replace

import pytest

import HAM_data
from common.benchmark import bench_published
from common.benchmark import ours as bench_ours
from common.benchmark import runner as contest
from common.benchmark.runner import BenchmarkConfig


@pytest.fixture(scope="module")
def setup(phantom_ham, tmp_path_factory) -> BenchmarkConfig:
    setup = BenchmarkConfig(
        HAM_data.DATASET.folder, "A1class", phantom_ham, phantom_ham / "prepared", tmp_path_factory.mktemp("drawn"),
        "resnet18", (128, 128), steps=1, lesions=12, device="cpu", precision="fp32",
    )  # fmt: skip
    work = bench_published.prepare_without_grabcut(setup)
    assert (work.items, len(list(setup.drawn.iterdir()))) == (12, 12)
    return setup


@pytest.mark.parametrize(("name", "items"), [("load", 12), ("train", 2), ("evaluate", 2), ("score", 12)])
def test_both_ways_do_as_much(setup, name, items, monkeypatch):
    # Batches of two are enough.
    scripts = replace(setup.scripts, recipe=replace(setup.scripts.recipe, batch_size=2))
    monkeypatch.setattr(contest, "find_methods", lambda _: {"A1class": scripts})
    for module in (bench_published, bench_ours):
        work = getattr(module, name)(setup)
        assert work.items == items
        assert work.seconds > 0


def test_the_network_alone_does_a_step(setup):
    assert bench_ours.train_network(setup).items == 10
