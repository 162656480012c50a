"""Batches on the device: uint8 patches travel, padding and normalising happen after the transfer."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.distributed import WHOLE, Share
from common.parallel import in_order
from common.patches import PATCH, canvas_index, patch_offset
from common.prepared import Prepared

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Batch(NamedTuple):
    """What one step consumes, on the device."""

    images: Tensor
    """(B, 3, H, W) float32, normalised, mirror-padded to the canvas."""
    masks: Tensor
    """(B, 1, H, W) float32 0/1, padded the same way."""
    clusters: Tensor
    """(B,) int64."""
    rows: np.ndarray
    """(B,) which lesions these are."""
    weight: float = 1.0
    """By which a mean over these lesions enters the mean over processes that is the mean of the whole batch."""

    def halves(self) -> tuple["Batch", "Batch"]:
        """The first and the second half of the batch."""
        middle = len(self.rows) // 2
        return self._part(slice(middle)), self._part(slice(middle, None))

    def _part(self, which: slice) -> "Batch":
        return Batch(self.images[which], self.masks[which], self.clusters[which], self.rows[which], self.weight)


Remainder = Literal["serve", "join", "drop"]

_AHEAD = 3
"""Batches that are read while the network computes."""


class ToCanvas:
    """Normalise patches and spread them over the canvas by mirroring (FACTS.md section 1)."""

    def __init__(self, canvas: tuple[int, int], device: torch.device) -> None:
        self._rows, self._columns = (torch.from_numpy(index).to(device) for index in canvas_index(canvas))
        self._mean = torch.tensor(IMAGENET_MEAN, device=device)
        self._std = torch.tensor(IMAGENET_STD, device=device)

    def images(self, patches: Tensor) -> Tensor:
        """Map (B, 120, 120, 3) intensities 0..255 to (B, 3, H, W) float32, channels last in memory."""
        patches = patches.float()
        # Published: divided by 255 only where the image's maximum exceeds 1.
        brightest = patches.amax(dim=(1, 2, 3), keepdim=True)
        patches = (torch.where(brightest > 1, patches / 255, patches) - self._mean) / self._std
        return self.spread(patches).permute(0, 3, 1, 2)

    def masks(self, patches: Tensor) -> Tensor:
        """Map (B, 120, 120) masks of 0/1 to (B, 1, H, W) float32."""
        return self.spread(patches)[:, None].float()

    def spread(self, patches: Tensor) -> Tensor:
        """Mirror-pad axes 1 and 2 to the canvas."""
        return patches[:, self._rows][:, :, self._columns]


def centre(canvas: Tensor) -> Tensor:
    """Cut the 120x120 patch out of (B, C, H, W) canvases: [132:252, 180:300] at the published size."""
    row, column = patch_offset((canvas.shape[-2], canvas.shape[-1]))
    return canvas[..., row : row + PATCH, column : column + PATCH]


def _cut(rows: np.ndarray, size: int, remainder: Remainder, least: int) -> list[np.ndarray]:
    left = len(rows) % size
    if remainder == "drop":
        rows = rows[: len(rows) - left]
    if not len(rows):
        return []
    starts = np.arange(size, len(rows), size)
    return np.split(rows, starts[:-1] if remainder == "join" and 0 < left < least else starts)


@dataclass(frozen=True)
class LesionBatches:
    """The lesions of a split, served in batches on a device, from mapped arrays.

    Where the arrays fit into the device's memory they are moved there once; else a thread reads the next batches from
    the map while the network computes.
    """

    prepared: Prepared
    rows: np.ndarray
    """Which lesions, by row of the prepared arrays, ascending."""
    target: str
    """The array that serves as mask: "ellipse", "grabcut" or "truth"."""
    canvas: tuple[int, int]
    device: torch.device
    share: Share = WHOLE
    """Which part of each batch this process takes."""
    halves: bool = False
    """Each half of a batch is shared out on its own, as a paired method needs it."""
    _resident: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def count(self, size: int, remainder: Remainder = "serve") -> int:
        """How many `batches` there are."""
        return len(_cut(self.rows, size, remainder, self._least))

    def batches(
        self, size: int, order: np.ndarray | None = None, remainder: Remainder = "serve", skip: int = 0
    ) -> Iterator[Batch]:
        """Batches of ``size`` lesions, in the given order of the split's lesions.

        Args:
            size: lesions in a batch, over all processes.
            order: positions within the split; None serves all in the order of the rows.
            remainder: what becomes of a last, smaller batch: it is served; or dropped; or, if it is too small to be
                trained on (batch normalisation needs two lesions, and each process one), joined to the batch before it.
            skip: batches at the beginning that are left out.
        """
        clusters = self._moved(torch.from_numpy(self.prepared.clusters()))
        to_canvas = ToCanvas(self.canvas, self.device)
        rows = self.rows if order is None else self.rows[order]
        whole = _cut(rows, size, remainder, self._least)[skip:]
        parts = [self._part(chosen) for chosen in whole]
        served = self._patches(("images", self.target), parts)
        for chosen, part, (images, masks) in zip(whole, parts, served, strict=True):
            weight = len(part) * self.share.size / len(chosen)
            labels = clusters[torch.from_numpy(part).to(self.device)]
            yield Batch(to_canvas.images(images), to_canvas.masks(masks), labels, part, weight)

    def images(self, size: int) -> Iterator[tuple[Tensor, np.ndarray]]:
        """What prediction needs: (B, 3, H, W) canvases and (B,) row numbers, in order, without masks."""
        to_canvas = ToCanvas(self.canvas, self.device)
        parts = _cut(self.rows[self.share.rank :: self.share.size], size, "serve", 1)
        for part, (images,) in zip(parts, self._patches(("images",), parts), strict=True):
            yield to_canvas.images(images), part

    @property
    def _least(self) -> int:
        return max(2, self.share.size)

    def _part(self, chosen: np.ndarray) -> np.ndarray:
        if not self.halves:
            return self.share.of(chosen)
        first, second = np.split(chosen, [len(chosen) // 2])
        return np.concatenate([self.share.of(first), self.share.of(second)])

    def _patches(self, names: Sequence[str], parts: Sequence[np.ndarray]) -> Iterator[list[Tensor]]:
        """Rows of the named arrays on the device, one list of tensors for each part."""
        arrays = [self.prepared.array(name) for name in names]
        if self._fits(arrays):
            for name, array in zip(names, arrays, strict=True):
                if name not in self._resident:
                    self._resident[name] = torch.from_numpy(array[self.rows]).to(self.device)
            for part in parts:
                places = self._moved(torch.from_numpy(np.searchsorted(self.rows, part)))
                yield [self._resident[name][places] for name in names]
            return

        def read(part: np.ndarray) -> list[Tensor]:
            rows = (torch.from_numpy(array[part]) for array in arrays)
            return [row.pin_memory() for row in rows] if self.device.type == "cuda" else list(rows)

        with ThreadPoolExecutor(1) as pool:
            for tensors in in_order(pool, read, parts, _AHEAD):
                yield [self._moved(tensor) for tensor in tensors]

    def _fits(self, arrays: Sequence[np.ndarray]) -> bool:
        """Whether the lesions' rows take no more than a quarter of the device's free memory: the network needs most."""
        if self.device.type != "cuda":
            return False  # the map is in the same memory as the network
        size = sum(array[0].nbytes for array in arrays) * len(self.rows)
        return bool(self._resident) or size < torch.cuda.mem_get_info(self.device)[0] // 4

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)
