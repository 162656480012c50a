"""The project's measurements: how much work each of them does."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

import HAM_A1class_train
from common.benchmark import ours
from common.benchmark.runner import BenchmarkConfig, make_config
from common.data.dataset import LesionDataset


@pytest.fixture
def config(phantom_ham, tmp_path) -> BenchmarkConfig:
    return make_config(
        HAM_A1class_train.RECIPE, LesionDataset.open(phantom_ham / "prepared"), data=phantom_ham, scratch=tmp_path,
        encoder="resnet18", canvas=(128, 128), steps=1, lesions=12, device="cpu", precision="fp32",
    )  # fmt: skip


def test_preparing_covers_all_data_with_the_folders_settings(config, tmp_path):
    assert ours.prepare_without_grabcut(config).items == 40
    again, before = (LesionDataset.open(folder).metadata for folder in (tmp_path / "prepared", config.prepared))
    assert again["settings"] == before["settings"] | {"grabcut": False}
    assert all(again[name] == before[name] for name in ("clusters", "protocol", "inputs"))
    shutil.rmtree(tmp_path / "prepared")


def test_matrices_are_multiplied(config):
    measurement = ours.multiply(config)
    assert measurement.flops == 20 * 2 * 1024**3
    assert measurement.seconds > 0


def test_the_network_alone_trains_on_one_batch(config):
    assert ours.train_network(config).items == 10


def test_an_untrained_network_segments_the_dark_disc():
    class Blind(nn.Module):
        def forward(self, images):
            return {"mask": images.mean(1, keepdim=True) * 0 - 9, "cluster": images.mean((2, 3))}

    y, x = np.mgrid[:128, :128]
    disc = np.hypot(y - 64, x - 64) < 25
    image = torch.from_numpy(np.where(disc, -1, 1)).float().expand(1, 3, -1, -1)
    outputs = ours.segment_dark(Blind())(image)
    mask = (outputs["mask"] > 0)[0, 0].numpy()
    # The mean over 15 px lets it reach a few px over the border.
    assert mask[disc].mean() > 0.98
    assert not mask[np.hypot(y - 64, x - 64) > 25 + 8].any()
    assert outputs["cluster"].shape == (1, 3)
