"""Batches on the device: uint8 patches travel, padding and normalising happen after the transfer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

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

    def halves(self) -> tuple["Batch", "Batch"]:
        """The first and the second half of the batch."""
        middle = len(self.rows) // 2
        return self._part(slice(middle)), self._part(slice(middle, None))

    def _part(self, which: slice) -> "Batch":
        return Batch(self.images[which], self.masks[which], self.clusters[which], self.rows[which])


Remainder = Literal["serve", "join", "drop"]


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


def _cut(rows: np.ndarray, size: int, remainder: Remainder) -> list[np.ndarray]:
    left = len(rows) % size
    if remainder == "drop":
        rows = rows[: len(rows) - left]
    if not len(rows):
        return []
    starts = np.arange(size, len(rows), size)
    return np.split(rows, starts[:-1] if remainder == "join" and left == 1 else starts)


@dataclass(frozen=True)
class LesionBatches:
    """The lesions of a split, served in batches on a device, from mapped arrays."""

    prepared: Prepared
    rows: np.ndarray
    """Which lesions, by row of the prepared arrays."""
    target: str
    """The array that serves as mask: "ellipse", "grabcut" or "truth"."""
    canvas: tuple[int, int]
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def count(self, size: int, remainder: Remainder = "serve") -> int:
        """How many `batches` there are."""
        return len(_cut(self.rows, size, remainder))

    def batches(
        self, size: int, order: np.ndarray | None = None, remainder: Remainder = "serve", skip: int = 0
    ) -> Iterator[Batch]:
        """Batches of ``size`` lesions, in the given order of the split's lesions.

        Args:
            size: lesions in a batch.
            order: positions within the split; None serves all in the order of the rows.
            remainder: what becomes of a last, smaller batch: it is served; or dropped; or, if it is a single lesion,
                which batch normalisation can't train on, joined to the batch before it.
            skip: batches at the beginning that are left out.
        """
        images, masks = self.prepared.array("images"), self.prepared.array(self.target)
        clusters = self.prepared.clusters()
        to_canvas = ToCanvas(self.canvas, self.device)
        rows = self.rows if order is None else self.rows[order]
        for chosen in _cut(rows, size, remainder)[skip:]:
            yield Batch(
                to_canvas.images(self._move(images[chosen])),
                to_canvas.masks(self._move(masks[chosen])),
                self._move(clusters[chosen]),
                chosen,
            )

    def _move(self, rows: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(rows))
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor
