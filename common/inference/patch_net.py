"""From a patch to the logits of its pixels, computing no more of the rest of the canvas than these depend on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.model import CanvasTransform, centre_crop
from common.patches import CANVAS_MULTIPLE, PATCH, patch_offset

_NO_LESION = -99.0  # a logit, of a probability of 0
_FINE_STRIDE = 4  # of the shallow feature map and of the decoder's result


class PatchNet(nn.Module):
    """A network in eval mode with what happens before and after it: from patches to logits of the same pixels."""

    def __init__(self, network: nn.Module, canvas: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.transform = CanvasTransform(canvas)
        self.centre = CentreDecoder(canvas)

    def forward(self, patches: Tensor, ends: Tensor | None = None) -> dict[str, Tensor]:
        """Map (B, 120, 120, 3) intensities 0..255 to {"mask": (B, 120, 120)} and, with the head, "cluster": (B, K).

        A network with prompt needs the (B, 4, 2) ``ends`` of the lesions' diameters, in px of the patch. Beyond
        twice the size of the mark's quarters, where the prompt is lowest, nothing is lesion, whatever the network says.
        """
        images = self.transform(patches, ends)
        logits = self.network(images, self.centre)
        mask = logits["mask"][:, 0]
        if ends is not None:
            mask = mask.masked_fill(centre_crop(images)[:, 3] <= -1, _NO_LESION)
        return logits | {"mask": mask}


class CentreDecoder(nn.Module):
    """What takes the place of `decode_canvas`: mask logits of the patch alone, a twelfth of the published canvas.

    Every map is computed on the rows and columns that the patch's logits depend on, and one pixel beyond: there, a 3x3
    convolution sees zero padding instead of the rest of the map, so what it computes there gets weight 0 afterwards.
    """

    def __init__(self, canvas: tuple[int, int]) -> None:
        super().__init__()
        self.coarse, self.fine = [], []  # the spans of rows and of columns
        for axis, side, start in zip(("rows", "columns"), canvas, patch_offset(canvas), strict=True):
            fine, coarse = side // _FINE_STRIDE, side // CANVAS_MULTIPLE
            to_patch, span = _upsampling(fine, side, slice(start, start + PATCH))
            self.fine.append(span)
            to_fine, span = _upsampling(coarse, fine, span)
            self.coarse.append(span)
            self.register_buffer(f"{axis}_to_patch", to_patch, persistent=False)
            self.register_buffer(f"{axis}_to_fine", to_fine, persistent=False)

    def forward(self, decoder: Any, head: Any, features: Sequence[Tensor]) -> Tensor:
        """Map an encoder's features of the whole canvas to (B, 1, 120, 120) logits."""
        shallow, deep = features[2], features[-1]
        pyramid, *smooth = decoder.aspp
        plain, *atrous, pooled = pyramid.convs
        maps = [plain(_cut(deep, self.coarse))]
        for (depthwise, pointwise), *rest in atrous:
            maps.append(nn.Sequential(pointwise, *rest)(depthwise(deep, *self.coarse)))
        maps.append(_cut(pooled(deep), self.coarse))
        coarse = nn.Sequential(pyramid.project, *smooth)(torch.cat(maps, dim=1))
        upsampled = self.rows_to_fine @ coarse @ self.columns_to_fine.T
        fine = torch.cat([upsampled, decoder.block1(_cut(shallow, self.fine))], dim=1)
        return self.rows_to_patch @ head[0](decoder.block2(fine)) @ self.columns_to_patch.T


def _upsampling(source: int, target: int, wanted: slice) -> tuple[Tensor, slice]:
    """The decoder's linear interpolation of ``source`` px to ``target`` px along one axis, for a span of the latter.

    Returns:
        The span of source px that are used, with one more each way, and their (wanted, span) weights.
    """
    positions = np.arange(target)[wanted, None] * (source - 1) / (target - 1)
    weights = np.maximum(1 - abs(positions - np.arange(source)), 0)
    used = np.flatnonzero(weights.any(axis=0))
    span = slice(max(int(used[0]) - 1, 0), min(int(used[-1]) + 2, source))
    return torch.from_numpy(weights[:, span].astype(np.float32)), span


def _cut(features: Tensor, spans: Sequence[slice]) -> Tensor:
    return features[..., spans[0], spans[1]]
