"""Augmentation of training lesions: mirrored and transposed patches, and jittered RECIST marks."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.patches import PATCH
from common.recist import mark_noise, move_ends


def flip(patches: Tensor, view: Tensor) -> Tensor:
    """Mirror and transpose square patches of shape (B, side, side, ...).

    ``view``, (3, B) bool, says which are mirrored left to right, which upside down, and which are transposed then.
    """
    left_right, up_down, transpose = view.reshape(3, -1, *[1] * (patches.dim() - 1))
    patches = torch.where(left_right, patches.flip(2), patches)
    patches = torch.where(up_down, patches.flip(1), patches)
    return torch.where(transpose, patches.transpose(1, 2), patches)


def unflip(patches: Tensor, view: Tensor) -> Tensor:
    """Undo `flip`: once transposed, left and right lie where up and down were."""
    left_right, up_down, transpose = view
    mirrored = torch.where(transpose, up_down, left_right), torch.where(transpose, left_right, up_down)
    return flip(patches, torch.stack([*mirrored, transpose]))


def flip_ends(ends: Tensor, view: Tensor) -> Tensor:
    """Transform (B, 4, 2) end points, in px of their patches, as `flip` transforms the patches."""
    ends = torch.where(view[:2].T[:, None], PATCH - 1 - ends, ends)
    return torch.where(view[2, :, None, None], ends.flip(-1), ends)


@dataclass(frozen=True)
class Augmentation:
    """How the lesions of an epoch are varied.

    A lesion's variation depends only on the seed, the epoch and its place in the epoch: not on batches, the number of
    processes or interruptions. A lesion that occurs twice in an epoch is varied independently each time.
    """

    seed: int
    epoch: int
    flips: bool  # mirror and transpose the patches at random
    jitter: float  # by which end points are moved, as `move_ends` takes it

    def __call__(
        self, places: np.ndarray, images: Tensor, masks: Tensor, ends: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Vary (B, 120, 120, 3) images, (B, 120, 120) masks and (B, 4, 2) end points alike, on their device.

        ``places`` are the lesions' places in the epoch.
        """
        if ends is not None and self.jitter:
            noise = torch.from_numpy(mark_noise([self.seed, self.epoch, place, 1] for place in places.tolist())).float()
            ends = move_ends(ends, self.jitter, noise.to(ends.device, non_blocking=True))
        if not self.flips:
            return images, masks, ends
        generators = (np.random.default_rng([self.seed, self.epoch, place]) for place in places.tolist())
        draws = np.stack([generator.integers(2, size=3) for generator in generators]).astype(bool)
        view = torch.from_numpy(draws.T.copy()).to(images.device, non_blocking=True)
        return flip(images, view), flip(masks, view), None if ends is None else flip_ends(ends, view)
