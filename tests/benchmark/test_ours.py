"""The project's measurements: how much work each has done."""

import shutil

import pytest

import HAM_data
from common.benchmark import ours as bench_ours
from common.benchmark.runner import BenchmarkConfig
from common.data.dataset import LesionDataset


@pytest.fixture
def setup(phantom_ham, tmp_path) -> BenchmarkConfig:
    return BenchmarkConfig(
        HAM_data.DATASET.folder, "A1class", phantom_ham, phantom_ham / "prepared", tmp_path,
        "resnet18", (128, 128), steps=1, lesions=12, device="cpu", precision="fp32",
    )  # fmt: skip


def test_preparing_does_all_of_the_data_as_it_was_done(setup, tmp_path):
    assert bench_ours.prepare_without_grabcut(setup).items == 40
    made, asked = (LesionDataset.open(folder).metadata for folder in (tmp_path / "prepared", setup.prepared))
    assert made["settings"] == {"grabcut": False}
    assert all(made[name] == asked[name] for name in ("clusters", "protocol", "inputs"))
    shutil.rmtree(tmp_path / "prepared")


def test_matrices_are_multiplied(setup):
    work = bench_ours.multiply(setup)
    assert work.flops == 20 * 2 * 1024**3
    assert work.seconds > 0
