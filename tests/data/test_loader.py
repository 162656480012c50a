"""Batches: the published network input, and every lesion where it belongs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import HAM_data
from common.data.dataset import LesionDataset
from common.data.loader import Batch, LesionLoader
from common.model import CanvasTransform, centre_crop

CPU = torch.device("cpu")


@pytest.fixture
def dataset(phantom_ham) -> LesionDataset:
    return LesionDataset.open_for(phantom_ham / "prepared", HAM_data.DATASET, "released")


def test_the_network_input_is_the_published_codes(shared, ham_prepared):
    with np.load(shared / "golden" / "ham10000.npz") as golden:
        loader = LesionLoader(ham_prepared, np.arange(4), "ellipse", (384, 480), CPU)
        images = next(loader.batches(4)).images
        np.testing.assert_allclose(images[:, :, ::8, ::8], golden["canvas_stride8"], atol=1e-4)
        np.testing.assert_allclose(images[:, :, 132:252:6, 180:300:6], golden["centre_stride6"][:4], atol=1e-4)
        loader = LesionLoader(ham_prepared, np.arange(400), "ellipse", (128, 128), CPU)
        for batch in loader.batches(50):
            patches = centre_crop(batch.images)[:, :, ::6, ::6]
            np.testing.assert_allclose(patches, golden["centre_stride6"][batch.rows], atol=1e-4)


@pytest.mark.parametrize(
    ("size", "remainder", "sizes"),
    [(10, "keep", [10, 10, 8]), (9, "keep", [9, 9, 9, 1]), (9, "merge", [9, 9, 10]), (10, "merge", [10, 10, 8]),
     (8, "drop", [8, 8, 8]), (28, "merge", [28]), (40, "keep", [28]), (40, "drop", [])],
)  # fmt: skip
def test_batches_hold_every_lesion_once(dataset, size, remainder, sizes):
    loader = LesionLoader(dataset, dataset.rows("train"), "ellipse", (128, 128), CPU)
    order = np.random.default_rng(0).permutation(28)
    batches = list(loader.batches(size, order, remainder))
    assert [len(batch.rows) for batch in batches] == sizes
    assert loader.batch_count(size, remainder) == len(sizes)
    rows = [row for batch in batches for row in batch.rows]
    assert rows == list(loader.rows[order])[: sum(sizes)]
    for batch in batches[:1]:
        masks = dataset.array("ellipse")[batch.rows]
        np.testing.assert_array_equal(centre_crop(batch.masks)[:, 0], masks)
        np.testing.assert_array_equal(batch.clusters, dataset.clusters()[batch.rows])


def test_skipped_batches_are_those_at_the_beginning(dataset):
    loader = LesionLoader(dataset, dataset.rows("train"), "ellipse", (128, 128), CPU)
    order = np.random.default_rng(0).permutation(28)
    batches, rest = (list(loader.batches(8, order, skip=skip)) for skip in (0, 2))
    assert [batch.rows.tolist() for batch in rest] == [batch.rows.tolist() for batch in batches[2:]]


def test_halves_part_a_batch_in_order():
    batch = Batch(torch.arange(8), torch.arange(8), torch.arange(8), np.arange(8))
    first, second = batch.halves()
    assert (first.rows.tolist(), second.images.tolist()) == ([0, 1, 2, 3], [4, 5, 6, 7])


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2)])
def test_rows_kept_on_the_device_are_those_read_from_the_map(dataset, monkeypatch, rank, world_size):
    order = np.random.default_rng(1).permutation(28)
    loader = LesionLoader(dataset, dataset.rows("train"), "grabcut", (128, 128), CPU, rank, world_size)
    mapped_batches, mapped_patches = list(loader.batches(8, order)), list(loader.patches(8))
    monkeypatch.setattr(LesionLoader, "_fits_device", lambda *_: True)
    for resident, mapped in zip(loader.batches(8, order), mapped_batches, strict=True):
        for value, mapped_value in zip(resident, mapped, strict=True):
            np.testing.assert_array_equal(value, mapped_value)
    for (patches, rows), (mapped, mapped_rows) in zip(loader.patches(8), mapped_patches, strict=True):
        assert torch.equal(patches, mapped)
        np.testing.assert_array_equal(rows, mapped_rows)
    assert loader._resident.keys() == {"images", "grabcut"}


def test_prediction_sees_the_images_that_training_sees(dataset):
    loader = LesionLoader(dataset, dataset.rows("val"), "ellipse", (144, 128), CPU)
    batch, (patches, rows) = next(loader.batches(8)), next(loader.patches(8))
    assert torch.equal(batch.images, CanvasTransform((144, 128))(patches))
    np.testing.assert_array_equal(batch.rows, rows)


@pytest.mark.parametrize("resident", [False, True])
def test_the_clusters_of_a_batch_are_indexed_on_the_host(dataset, monkeypatch, resident):
    """An index on the device would make it wait for the batch's rows: only labels travel, without waiting."""
    loader = LesionLoader(dataset, dataset.rows("train"), "ellipse", (128, 128), torch.device("meta"))
    monkeypatch.setattr(LesionLoader, "_fits_device", lambda *_: resident)
    sent = []

    def send(tensor: torch.Tensor) -> torch.Tensor:
        sent.append(tensor)
        return tensor.to("meta")

    monkeypatch.setattr(LesionLoader, "_to_device", lambda _, tensor: send(tensor))
    batch = next(loader.batches(8, np.arange(28)[::-1]))
    assert batch.clusters.device.type == "meta"
    labels = [tensor for tensor in sent if tensor.shape == (8,)][-1]
    assert labels.tolist() == dataset.clusters()[batch.rows].tolist()


@pytest.mark.parametrize("paired", [False, True])
def test_processes_divide_every_batch(dataset, paired):
    rows = dataset.rows("train")
    loaders = [LesionLoader(dataset, rows, "ellipse", (128, 128), CPU, rank, 3, paired) for rank in range(3)]
    shards = [list(loader.batches(10, None, "merge")) for loader in loaders]
    for number, batch_shards in enumerate(zip(*shards, strict=True)):
        batch = np.concatenate([shard.rows for shard in batch_shards])
        np.testing.assert_array_equal(np.sort(batch), rows[10 * number : 10 * number + 10])
        # A mean over all lesions is the weighted mean of the processes' means.
        means = [shard.weight * shard.rows.mean() for shard in batch_shards]
        assert np.mean(means) == pytest.approx(batch.mean())
        if paired:
            first = np.concatenate([shard.halves()[0].rows for shard in batch_shards])
            np.testing.assert_array_equal(np.sort(first), rows[10 * number : 10 * number + len(batch) // 2])


@pytest.mark.parametrize("rank", range(3))
def test_each_process_takes_every_third_row(rank):
    loader = LesionLoader(SimpleNamespace(), np.arange(11), "ellipse", (128, 128), CPU, rank, 3)
    assert loader._shard(loader.rows).tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]][rank]
