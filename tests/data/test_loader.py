"""Batches: the published network input, and every lesion where it belongs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import HAM_data
from common.data.augment import Augmentation
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
    for (patches, ends, rows), (mapped, _, mapped_rows) in zip(loader.patches(8), mapped_patches, strict=True):
        assert torch.equal(patches, mapped)
        assert ends is None
        np.testing.assert_array_equal(rows, mapped_rows)
    assert loader._resident.keys() == {"images", "grabcut"}


def test_prediction_sees_the_images_that_training_sees(dataset):
    loader = LesionLoader(dataset, dataset.rows("val"), "ellipse", (144, 128), CPU)
    batch, (patches, ends, rows) = next(loader.batches(8)), next(loader.patches(8))
    assert torch.equal(batch.images, CanvasTransform((144, 128))(patches))
    assert ends is None
    np.testing.assert_array_equal(batch.rows, rows)
    loader = replace(loader, prompt=True)
    batch, (patches, ends, rows) = next(loader.batches(8)), next(loader.patches(8))
    np.testing.assert_array_equal(ends, dataset.array("ends")[rows])
    assert batch.images.shape == (8, 4, 144, 128)
    assert torch.equal(batch.images, CanvasTransform((144, 128))(patches, ends))


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


@pytest.mark.parametrize(("lesions", "samples", "often"), [(3, 8, [3, 3, 2]), (3, 2, [1, 1, 1]), (2, 0, [1, 1])])
def test_few_lesions_are_repeated_until_there_are_enough_for_an_epoch(lesions, samples, often):
    rows = 10 + 2 * np.arange(lesions)
    loader = LesionLoader(SimpleNamespace(), rows, "ellipse", (128, 128), CPU, samples=samples)
    assert np.bincount(loader.positions()).tolist() == often
    assert loader.batch_count(2) == -(-sum(often) // 2)


def _varied(loader: LesionLoader, size: int, skip: int = 0) -> list[Batch]:
    order = np.random.default_rng(1).permutation(loader.positions())
    return list(loader.batches(size, order, "merge", skip, Augmentation(seed=2, epoch=3, flips=True, jitter=0.1)))


@pytest.fixture
def varying(dataset) -> LesionLoader:
    rows = dataset.rows("train")
    return LesionLoader(dataset, rows, "quarters", (128, 128), CPU, prompt=True, samples=2 * len(rows) - 1)


def test_lesions_are_varied_the_same_whatever_the_batches(varying):
    by_8, by_12 = (torch.cat([batch.images for batch in _varied(varying, size)]) for size in (8, 12))
    assert torch.equal(by_8, by_12)
    skipped = _varied(varying, 8, skip=2)
    for batch, expected in zip(skipped, _varied(varying, 8)[2:], strict=True):
        assert all(torch.equal(batch[index], expected[index]) for index in range(3))


@pytest.mark.parametrize("paired", [False, True])
def test_lesions_are_varied_the_same_in_several_processes(varying, paired):
    loaders = [replace(varying, rank=rank, world_size=2, paired=paired) for rank in range(2)]
    for batch, *shards in zip(_varied(varying, 8), *(_varied(loader, 8) for loader in loaders), strict=True):
        images = [image.numpy().tobytes() for shard in shards for image in shard.images]
        assert sorted(images) == sorted(image.numpy().tobytes() for image in batch.images)


def test_a_lesion_that_comes_twice_in_an_epoch_is_varied_twice(varying):
    batches = _varied(varying, 8)
    marks = {image[3].numpy().tobytes() for batch in batches for image in batch.images}
    assert len(marks) == len(varying.positions()) == 55
