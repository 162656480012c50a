"""A trained network on its device, ready to predict: the one place where a network runs outside training."""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.hooks import RemovableHandle

from common.data.augment import flip, flip_ends, unflip
from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.inference.patch_net import PatchNet
from common.patches import SMALL_CANVAS
from common.recipe import DatasetInfo, Protocol
from common.training.checkpoint import TrainedModel, check_dataset, load_model
from common.training.device import (
    autocast,
    copy_to_host,
    explain_out_of_memory,
    pick_device,
    pick_precision,
    set_math_flags,
)

BATCH_SIZE = 8  # default number of patches in a batch


def fold_batch_norms(network: nn.Module, channels: int) -> nn.Module:
    """Merge the batch normalisations of a network in eval mode into the convolutions before them.

    Returns:
        A copy whose logits differ by rounding alone; ``network`` itself where they would not, as where a convolution
        computes its weights anew.
    """
    images = torch.rand(2, channels, *SMALL_CANVAS, generator=torch.Generator().manual_seed(0))
    folded, pairs = copy.deepcopy(network), []
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by id, which stays an output's own while that is kept

    def remember(convolution: nn.Conv2d, _: object, output: Tensor) -> None:
        outputs[id(output)] = convolution, output

    def match(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], norm))

    hooks: list[RemovableHandle] = []
    for module in folded.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(remember))
        elif type(module) is nn.BatchNorm2d:  # others may do more than normalise
            hooks.append(module.register_forward_pre_hook(match))
    with torch.no_grad():
        expected = folded(images)
        for hook in hooks:
            hook.remove()
        names = {module: name for name, module in folded.named_modules()}
        for convolution, norm in pairs:
            for module, new in ((convolution, fuse_conv_bn_eval(convolution, norm)), (norm, nn.Identity())):
                parent, _, name = names[module].rpartition(".")
                setattr(folded.get_submodule(parent), name, new)
        logits = folded(images)
    close = all(torch.allclose(logits[name], value, 1e-4, 1e-5 * value.abs().max()) for name, value in expected.items())
    return folded if close else network


class Predictor:
    """A network on its device, from 120x120 patches to logits, masks or probabilities of the same pixels."""

    def __init__(self, model: TrainedModel, device: torch.device, precision: str, tta: bool = False) -> None:
        """``precision`` is "fp32", "bf16" or "auto"; with ``tta`` logits are means over the mirrored patches too."""
        self.device = device
        self.tta = tta
        self.precision = pick_precision(precision, device)
        set_math_flags(device, self.precision)
        network = model.network.eval()
        if device.type == "cpu" and self.precision == "fp32":  # in bf16 the merged weights would lose digits
            network = fold_batch_norms(network, 3 + model.prompted)
        self.model = replace(model, network=network)
        self._network = PatchNet(network, model.canvas).to(device).to(memory_format=torch.channels_last).eval()

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        dataset: DatasetInfo | None = None,
        *,
        encoder: str | None = None,
        canvas: tuple[int, int] | None = None,
        protocol: Protocol | None = None,
        device: str = "auto",
        precision: str = "fp32",
        tta: bool = False,
    ) -> Self:
        """Load a checkpoint; what is None comes from its own settings, else from the published defaults.

        Raises:
            UserError: as `load_model`, or the checkpoint was not trained on ``dataset``.
        """
        where = pick_device(device)
        model = load_model(checkpoint, encoder, canvas, protocol)
        if dataset is not None:
            check_dataset(checkpoint, model.settings, dataset.name)
        return cls(model, where, precision, tta)

    @torch.inference_mode()
    def logits(self, patches: Tensor, ends: Tensor | None = None, batch_size: int | None = None) -> dict[str, Tensor]:
        """Map (B, 120, 120, 3) patches of 0..255, on the device, to named logits; see `PatchNet`.

        ``ends``, (B, 4, 2) on the device, are for a network with prompt alone. ``batch_size`` is the
        value of --batch-size, for the out-of-memory message; None for scripts without that flag.
        """
        with explain_out_of_memory(batch_size, self.model.canvas), autocast(self.device, self.precision):
            return self._mean_of_views(patches, ends) if self.tta else self._network(patches, ends)

    def _mean_of_views(self, patches: Tensor, ends: Tensor | None) -> dict[str, Tensor]:
        """Test-time augmentation: mean logits over the eight ways to mirror and transpose the patches."""
        views = list(product((False, True), repeat=3))
        means: dict[str, Tensor] = {}
        for flags in views:
            view = torch.stack([torch.full((len(patches),), flag, device=patches.device) for flag in flags])
            logits = self._network(flip(patches, view), None if ends is None else flip_ends(ends, view))
            logits["mask"] = unflip(logits["mask"], view)
            means = {name: means.get(name, 0) + value.float() / len(views) for name, value in logits.items()}
        return means

    def masks(self, loader: LesionLoader, batch_size: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Masks batch by batch: (B,) row numbers and (B, 120, 120) uint8 0/1; for ``batch_size`` see `logits`.

        A batch is yielded once the next one is queued on the device, so that the device never waits for the caller.
        """
        pending: deque[tuple[np.ndarray, Callable[[], Tensor]]] = deque()
        for patches, ends, rows in loader.patches(batch_size or BATCH_SIZE):
            masks = (self.logits(patches, ends, batch_size)["mask"] > 0).to(torch.uint8)  # probability 0.5 is logit 0
            pending.append((rows, copy_to_host(masks)))
            if len(pending) > 1:
                done, wait = pending.popleft()
                yield done, wait().numpy()
        for done, wait in pending:
            yield done, wait().numpy()

    def mask_rows(self, dataset: LesionDataset, rows: np.ndarray, ends: np.ndarray | None = None) -> np.ndarray:
        """(N, 120, 120) uint8 masks for rows of a prepared folder; for ``ends`` see `LesionLoader`."""
        order = np.argsort(rows, kind="stable")
        model = self.model
        loader = LesionLoader(
            dataset, rows[order], "ellipse", model.canvas, self.device, prompt=model.prompted, ends=ends
        )
        masks = np.concatenate([masks for _, masks in self.masks(loader)])
        return masks[np.argsort(order, kind="stable")]

    def probabilities(self, patches: Sequence[np.ndarray], ends: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Lesion probabilities of (120, 120, 3) patches of 0..255 as (N, 120, 120) float32.

        ``ends`` are (4, 2) RECIST end points in px of each patch, for a network with prompt.
        """
        parts = []
        for start in range(0, len(patches), BATCH_SIZE):
            batch = torch.from_numpy(np.stack(patches[start : start + BATCH_SIZE])).to(self.device)
            marks = None
            if ends is not None:
                marks = torch.from_numpy(np.stack(ends[start : start + BATCH_SIZE])).float().to(self.device)
            parts.append(self.logits(batch, marks)["mask"].float().sigmoid().cpu().numpy())
        return np.concatenate(parts)
