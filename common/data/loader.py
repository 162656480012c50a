"""Batches on the device: patches are transferred as uint8, then normalised and padded there."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.data.augment import Augmentation
from common.data.dataset import LesionDataset
from common.model import CanvasTransform
from common.utils.parallel import in_order

PREFETCH = 3  # batches that are read while the network computes
Remainder = Literal["keep", "merge", "drop"]
"""What becomes of a last, smaller batch: it is kept; or dropped; or merged into the batch before it where it is too
small to be trained on (batch normalisation needs two lesions, and each process one)."""


class Batch(NamedTuple):
    """What one step consumes, on the device."""

    images: Tensor  # (B, C, H, W) float32, normalised, mirror-padded to the canvas; C is 3, with a prompt 4
    masks: Tensor  # (B, 1, H, W) float32 0/1, padded the same way
    clusters: Tensor  # (B,) int64
    rows: np.ndarray  # (B,) row numbers of the prepared arrays
    weight: float = 1.0
    """Weight of this process's mean loss, chosen so that the mean over processes is the mean over the whole batch."""

    def halves(self) -> tuple["Batch", "Batch"]:
        """The first and the second half of the batch."""
        middle = len(self.rows) // 2
        return self._slice(slice(middle)), self._slice(slice(middle, None))

    def _slice(self, part: slice) -> "Batch":
        return Batch(self.images[part], self.masks[part], self.clusters[part], self.rows[part], self.weight)


@dataclass(frozen=True)
class LesionLoader:
    """Lesions of a prepared folder in batches on a device.

    Where the arrays fit into the device's memory they are moved there once; else a thread reads the next batches from
    the mapped files while the network computes.
    """

    dataset: LesionDataset
    rows: np.ndarray  # which lesions, by row of the prepared arrays, ascending
    target: str  # the array that serves as mask, one of `recipe.TARGETS`; `patches`, for prediction, reads none
    canvas: tuple[int, int]
    device: torch.device
    rank: int = 0  # of this process, which takes its part of every batch
    world_size: int = 1
    paired: bool = False  # each half of a batch is divided among the processes on its own, as a paired method needs it
    prompt: bool = False  # images have the channel that shows a lesion's own RECIST mark (`model.CanvasTransform`)
    ends: np.ndarray | None = None  # (N, 4, 2) of all rows, in place of the prepared ones, such as `noisy_ends`
    samples: int = 0  # of an epoch; where there are fewer lesions, they are repeated
    _resident: dict[str, Tensor] = field(init=False, default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        """The arrays that batches are made from."""
        return ["images", self.target, *["ends"] * self.prompt]

    def positions(self) -> np.ndarray:
        """Positions within ``rows`` that make an epoch: each once, or as often as it takes to make ``samples``."""
        return np.resize(np.arange(len(self.rows)), max(self.samples, len(self.rows)))

    def batch_count(self, size: int, remainder: Remainder = "keep") -> int:
        """How many batches of an epoch `batches` yields."""
        return len(_split_batches(self.positions(), size, remainder, self._smallest_batch))

    def batches(
        self,
        size: int,
        order: np.ndarray | None = None,
        remainder: Remainder = "keep",
        skip: int = 0,
        augmentation: Augmentation | None = None,
    ) -> Iterator[Batch]:
        """Batches of ``size`` lesions, images and masks on the canvas.

        Args:
            size: lesions in a batch, over all processes.
            order: positions within ``rows``; None means `positions`.
            remainder: see `Remainder`.
            skip: batches at the beginning that are left out.
            augmentation: varies the lesions; None leaves them as they are.
        """
        rows = self.rows[self.positions() if order is None else order]
        batches = _split_batches(np.arange(len(rows)), size, remainder, self._smallest_batch)[skip:]  # places in rows
        places = [self._shard(batch) for batch in batches]
        shards = [rows[part] for part in places]
        transform, labels = CanvasTransform(self.canvas).to(self.device), self.dataset.clusters()
        for batch, where, shard, tensors in zip(batches, places, shards, self._read(self.names, shards), strict=True):
            arrays = dict(zip(self.names, tensors, strict=True))
            images, masks, ends = arrays["images"], arrays[self.target], arrays.get("ends")
            if augmentation is not None:
                images, masks, ends = augmentation(where, images, masks, ends)
            yield Batch(
                transform(images, ends),
                transform.masks(masks),
                self._to_device(torch.from_numpy(labels[shard])),
                shard,
                weight=len(shard) * self.world_size / len(batch),
            )

    def patches(self, size: int) -> Iterator[tuple[Tensor, Tensor | None, np.ndarray]]:
        """What prediction needs, in order: (B, 120, 120, 3) patches of 0..255, (B, 4, 2) ends, (B,) row numbers.

        ``size`` is the number of lesions in a batch, of this process. The ends are None without ``prompt``.
        """
        batches = _split_batches(self.rows[self.rank :: self.world_size], size, "keep", 1)
        names = ["images", *["ends"] * self.prompt]
        for batch, (patches, *ends) in zip(batches, self._read(names, batches), strict=True):
            yield patches, ends[0] if ends else None, batch

    @property
    def _smallest_batch(self) -> int:
        return max(2, self.world_size)

    def _shard(self, batch: np.ndarray) -> np.ndarray:
        """This process's lesions of a batch, so that together the processes have each of them once."""
        parts = np.split(batch, [len(batch) // 2]) if self.paired else [batch]
        return np.concatenate([part[self.rank :: self.world_size] for part in parts])

    def _read(self, names: Sequence[str], batches: Sequence[np.ndarray]) -> Iterator[list[Tensor]]:
        """Rows of the named arrays on the device, one list of tensors for each batch of row numbers."""
        arrays = [self.ends if name == "ends" and self.ends is not None else self.dataset.array(name) for name in names]
        if self._fits_device(arrays):
            return self._read_resident(names, arrays, batches)
        return self._read_mapped(arrays, batches)

    def _read_resident(
        self, names: Sequence[str], arrays: Sequence[np.ndarray], batches: Sequence[np.ndarray]
    ) -> Iterator[list[Tensor]]:
        for name, array in zip(names, arrays, strict=True):
            if name not in self._resident:
                self._resident[name] = torch.from_numpy(array[self.rows]).to(self.device)
        for batch in batches:
            positions = self._to_device(torch.from_numpy(np.searchsorted(self.rows, batch)))
            yield [self._resident[name][positions] for name in names]

    def _read_mapped(self, arrays: Sequence[np.ndarray], batches: Sequence[np.ndarray]) -> Iterator[list[Tensor]]:
        def read(batch: np.ndarray) -> list[Tensor]:
            tensors = [torch.from_numpy(array[batch]) for array in arrays]
            return [tensor.pin_memory() for tensor in tensors] if self.device.type == "cuda" else tensors

        with ThreadPoolExecutor(1) as pool:
            for tensors in in_order(pool, read, batches, PREFETCH):
                yield [self._to_device(tensor) for tensor in tensors]

    def _fits_device(self, arrays: Sequence[np.ndarray]) -> bool:
        """Whether the lesions take no more than a quarter of a GPU's free memory, most of which the network needs."""
        if self.device.type != "cuda":
            return False  # mapped files lie in the CPU's memory already
        size = sum(array[0].nbytes for array in arrays) * len(self.rows)
        return bool(self._resident) or size < torch.cuda.mem_get_info(self.device)[0] // 4

    def _to_device(self, tensor: Tensor) -> Tensor:
        # Only CUDA keeps the source until an asynchronous copy is over.
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")


def _split_batches(rows: np.ndarray, size: int, remainder: Remainder, smallest: int) -> list[np.ndarray]:
    left_over = len(rows) % size
    if remainder == "drop":
        rows = rows[: len(rows) - left_over]
    if not len(rows):
        return []
    starts = np.arange(size, len(rows), size)
    return np.split(rows, starts[:-1] if remainder == "merge" and 0 < left_over < smallest else starts)
