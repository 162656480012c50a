"""A trained network at work on single patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from common.checkpoint import Trained, open_trained
from common.dataset import ToCanvas, centre
from common.device import autocast, memory_told, pick_device, pick_precision, tune
from common.errors import UserError
from common.recipe import Dataset, Protocol

BATCH = 8
"""Patches that go through the network together."""


@dataclass(frozen=True)
class Segmenter:
    """A network on its device, ready to predict."""

    trained: Trained
    device: torch.device
    precision: str

    @classmethod
    def open(
        cls,
        checkpoint: Path,
        dataset: Dataset,
        *,
        encoder: str | None,
        canvas: tuple[int, int] | None,
        protocol: Protocol | None,
        device: str,
        precision: str,
    ) -> Self:
        """Load a checkpoint; what is None comes from its own recipe, else from the published defaults.

        Raises:
            UserError: as `open_trained`, or the checkpoint was trained on another dataset.
        """
        where = pick_device(device)
        trained = open_trained(checkpoint, encoder, canvas, protocol)
        own = trained.recipe.get("dataset", dataset.name)
        if own != dataset.name:
            raise UserError(f"{checkpoint} was trained on {own}, not on {dataset.name}; use the script for {own}")
        trained.network.to(where).to(memory_format=torch.channels_last).eval()
        chosen = pick_precision(precision, where)
        tune(where, chosen)
        return cls(trained, where, chosen)

    @torch.inference_mode()
    def probabilities(self, patches: Sequence[np.ndarray]) -> np.ndarray:
        """Lesion probability of (120, 120, 3) patches of 0..255, as (N, 120, 120) float32."""
        to_canvas = ToCanvas(self.trained.canvas, self.device)
        found = []
        for start in range(0, len(patches), BATCH):
            images = torch.from_numpy(np.stack(patches[start : start + BATCH])).to(self.device)
            with memory_told(BATCH, self.trained.canvas), autocast(self.device, self.precision):
                logits = self.trained.network(to_canvas.images(images))["mask"]
            found.append(centre(logits)[:, 0].float().sigmoid().cpu().numpy())
        return np.concatenate(found)
