"""The networks of the three methods, and how a 120x120 patch passes through one of them.

Every network maps a canvas of images to named logits: {"mask": (B, 1, H, W)} and, with the cluster head,
{"cluster": (B, K)}.
"""

from collections.abc import Callable, Sequence
from functools import cache, reduce
from itertools import product
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common.patches import PATCH, SMALL_CANVAS, canvas_index, patch_offset
from common.recipe import Method
from common.recist import quarter_radius
from common.utils.errors import UserError
from common.weak_masks import QUARTERS_SCALE

HEAD_DROPOUT = 0.2  # dropout of the cluster head (FACTS.md section 1).
ATTENTION_WIDTH = 4096  # hidden units of ACoseg's attention (FACTS.md section 1).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MARK_EDGE = 0.5  # midway between a prompt's values just inside (1) and outside (0) the edge of the mark's quarters
PRIOR = 4.0  # initial weight of the prompt's logits: +2 just inside that edge, -2 just outside
_RESNETS = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))


class AtrousConv2d(nn.Conv2d):
    """A depthwise 3x3 convolution of the atrous pyramid, whose rates, 12 to 36, reach beyond small feature maps.

    Taps that see only zero padding are skipped: on the 8x8 map of a 128x128 canvas, only the centre tap remains. Sums
    and gradients stay the same; a training step at 128x128 takes a fifth less time.
    """

    @classmethod
    def replace(cls, network: nn.Module) -> None:
        """Turn all such convolutions of a network into this class; parameters and tensor names are unchanged."""
        for module in network.modules():
            if type(module) is nn.Conv2d and module.groups == module.in_channels and module.dilation != (1, 1):
                assert module.kernel_size == (3, 3) and module.padding == module.dilation and module.bias is None
                module.__class__ = cls

    def forward(self, features: Tensor, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """Map (B, C, h, w) features to (B, C, h, w), or only to the given spans of rows and columns."""
        (rate, _), (height, width) = self.dilation, features.shape[2:]
        (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
        row_taps, column_taps = (
            [tap for tap in (-1, 0, 1) if start + tap * rate < size and stop + tap * rate > 0]
            for start, stop, size in ((top, bottom, height), (left, right, width))
        )
        if len(row_taps) == len(column_taps) == 3 and (bottom - top, right - left) == (height, width):
            return super().forward(features)
        weight = self.weight.to(features.dtype)  # as the convolution has it under autocast
        parts = []
        for row, column in product(row_taps, column_taps):
            y, x = row * rate, column * rate
            seen = F.pad(features, (-left - x, right + x - width, -top - y, bottom + y - height))
            parts.append(seen * weight[:, :, row + 1, column + 1, None, None].transpose(0, 1))
        return reduce(torch.add, parts)


Decode = Callable[[Any, Any, Sequence[Tensor]], Tensor]


def decode_canvas(decoder: nn.Module, head: nn.Module, features: Sequence[Tensor]) -> Tensor:
    """Map an encoder's features to (B, 1, H, W) mask logits."""
    return head(decoder(features))


class LesionNet(smp.DeepLabV3Plus):
    """DeepLabV3+ at output stride 16, one class, with the cluster head when ``clusters`` is given (A1, A1+L).

    With ``prompt`` the images have a fourth channel that encodes the lesion's RECIST mark (see `CanvasTransform`). It
    is also the prior of the mask's logits: where the decoder outputs 0 everywhere, the prediction is the mark's
    `quarters_mask`.

    Tensor names are those of the released checkpoints.
    """

    def __init__(self, encoder: str, clusters: int | None = None, prompt: bool = False) -> None:
        head = None if clusters is None else {"classes": clusters, "pooling": "avg", "dropout": HEAD_DROPOUT}
        super().__init__(
            encoder, encoder_weights=None, encoder_output_stride=16, in_channels=3 + prompt, classes=1, aux_params=head
        )
        AtrousConv2d.replace(self.decoder)
        self.prior = nn.Parameter(torch.tensor(PRIOR)) if prompt else None

    def forward(self, images: Tensor, decode: Decode = decode_canvas) -> dict[str, Tensor]:
        """Map (B, 3, H, W) normalised images, (B, 4, H, W) with ``prompt``, to named logits.

        ``decode`` computes the mask's logits from decoder, head and features.
        """
        features = self.encoder(images)
        outputs = {"mask": decode(self.decoder, self.segmentation_head, features)}
        if self.prior is not None:
            mark = images[:, 3:]
            mark = mark if mark.shape[2:] == outputs["mask"].shape[2:] else centre_crop(mark)
            outputs["mask"] = outputs["mask"] + self.prior * (mark - MARK_EDGE)
        if self.classification_head is not None:
            outputs["cluster"] = self.classification_head(features[-1])
        return outputs


class CosegNet(nn.Module):
    """ACoseg (Agarwal et al. 2020): DeepLabV3+ with channel attention on its deepest and its stride-4 features.

    In the released code the two images of a pair do not interact, so the network takes plain batches of images like any
    other; only training feeds it in pairs (FACTS.md sections 1 and 2). The released class registers the network's
    parts a second time under other names, so its checkpoints hold most tensors twice; the same is done here.
    """

    def __init__(self, encoder: str) -> None:
        super().__init__()
        self.deeplab_model = smp.DeepLabV3Plus(encoder, encoder_weights=None, encoder_output_stride=16, classes=1)
        AtrousConv2d.replace(self.deeplab_model.decoder)
        self.deeplab_encoder = self.deeplab_model.encoder
        deep, shallow = self.deeplab_encoder.out_channels[-1], self.deeplab_encoder.out_channels[2]
        self.mlp1a, self.mlp2a = nn.Linear(deep, ATTENTION_WIDTH), nn.Linear(ATTENTION_WIDTH, deep)
        self.mlp1b, self.mlp2b = nn.Linear(shallow, ATTENTION_WIDTH), nn.Linear(ATTENTION_WIDTH, shallow)
        self.deeplab_decoder = self.deeplab_model.decoder
        self.deeplab_seghead = self.deeplab_model.segmentation_head

    # The parts under the names that they have in `LesionNet`.
    encoder = property(lambda self: self.deeplab_encoder)
    decoder = property(lambda self: self.deeplab_decoder)
    segmentation_head = property(lambda self: self.deeplab_seghead)

    def forward(self, images: Tensor, decode: Decode = decode_canvas) -> dict[str, Tensor]:
        """Map (B, 3, H, W) normalised images to {"mask": (B, 1, H, W) logits}; for ``decode`` see `LesionNet`."""
        features = list(self.deeplab_encoder(images))
        features[-1] = _attend(features[-1], self.mlp1a, self.mlp2a)
        features[2] = _attend(features[2], self.mlp1b, self.mlp2b)
        return {"mask": decode(self.decoder, self.segmentation_head, features)}


def _attend(features: Tensor, squeeze: nn.Linear, excite: nn.Linear) -> Tensor:
    """Scale each channel of (B, C, h, w) features by a weight in 0..1 computed from the means of all channels."""
    # In the layers' own precision: autocast would copy their millions of weights, which takes longer than using them.
    means = features.to(squeeze.weight.dtype).mean(dim=(2, 3))
    with torch.autocast(features.device.type, enabled=False):
        weights = excite(squeeze(means).tanh()).sigmoid()
    return features * weights[:, :, None, None].to(features.dtype)


@cache
def check_encoder(encoder: str, canvas: tuple[int, int]) -> None:
    """Make sure that a DeepLabV3+ with this encoder can be built, and maps a canvas to logits of the same size.

    Raises:
        UserError: neither segmentation-models-pytorch nor timm knows the encoder, or it does not fit.
    """
    if encoder in _RESNETS:
        return
    remedy = f"try one of {', '.join(_RESNETS)}"
    of_timm = encoder.startswith("tu-") and timm.is_model(encoder.removeprefix("tu-"))
    if not of_timm and encoder not in smp.encoders.get_encoder_names():
        raise UserError(
            f"--encoder {encoder} is not an encoder of segmentation-models-pytorch, nor tu-NAME of timm; {remedy}"
        )
    # Meta tensors hold no data and cost nothing, but mit encoders read values while they are being built.
    device = torch.device("cpu" if encoder.startswith("mit_") else "meta")
    try:
        with torch.random.fork_rng(devices=()), device, torch.no_grad():
            size = tuple(LesionNet(encoder)(torch.zeros(2, 3, *canvas))["mask"].shape[2:])
        if size != canvas:
            raise ValueError(f"it maps {canvas} to {size}")
    except Exception as error:  # the libraries raise whatever their code runs into
        reason = f" ({' '.join(str(error).split())})" if str(error) else ""
        raise UserError(
            f"--encoder {encoder} can't be used: DeepLabV3+ needs features at 1/4 and 1/16 of a canvas of "
            f"{canvas[0]}x{canvas[1]} px{reason}; {remedy}"
        ) from error


def build_network(
    method: Method, encoder: str, clusters: int, canvas: tuple[int, int] = SMALL_CANVAS, prompt: bool = False
) -> nn.Module:
    """The network of a method, with random weights; for ``prompt`` see `LesionNet`.

    Raises:
        UserError: as `check_encoder`.
    """
    check_encoder(encoder, canvas)
    if method.paired:
        return CosegNet(encoder)
    return LesionNet(encoder, clusters if method.cluster_head else None, prompt)


class CanvasTransform(nn.Module):
    """Normalise patches and mirror-pad them to the canvas (FACTS.md section 1); append a prompt where one is given.

    The prompt is a channel computed from the four end points of the RECIST diameters alone. It falls linearly from 2 at
    their crossing to 1 at the edge of their `quarters_mask`, steps down to 0 there, and falls to -1 at twice that
    distance. Ramp and step together trained faster than either alone (trials: code_ham/README.md).
    """

    def __init__(self, canvas: tuple[int, int]) -> None:
        super().__init__()
        self.rows, self.columns = (
            nn.Buffer(torch.from_numpy(index), persistent=False) for index in canvas_index(canvas)
        )
        self.mean = nn.Buffer(torch.tensor(IMAGENET_MEAN), persistent=False)
        self.std = nn.Buffer(torch.tensor(IMAGENET_STD), persistent=False)
        self.pixels = nn.Buffer(torch.arange(float(PATCH)), persistent=False)

    def forward(self, patches: Tensor, ends: Tensor | None = None) -> Tensor:
        """Map (B, 120, 120, 3) intensities 0..255 to (B, 3, H, W) float32 images, channels last in memory.

        With (B, 4, 2) ``ends`` (x, y) in px of the patch, the images are (B, 4, H, W).
        """
        patches = patches.float()
        # Published: divided by 255 only where the image's maximum exceeds 1.
        brightest = patches.amax(dim=(1, 2, 3), keepdim=True)
        patches = (torch.where(brightest > 1, patches / 255, patches) - self.mean) / self.std
        if ends is not None:
            radius = quarter_radius(ends.float(), self.pixels, self.pixels) / QUARTERS_SCALE
            ramp = (1 - radius).clamp(-1, 1).nan_to_num(-1)
            patches = torch.cat([patches, (ramp + (ramp > 0))[..., None]], dim=-1)
        return self._pad(patches).permute(0, 3, 1, 2)

    def masks(self, masks: Tensor) -> Tensor:
        """Map (B, 120, 120) masks of 0/1 to (B, 1, H, W) float32."""
        return self._pad(masks)[:, None].float()

    def _pad(self, patches: Tensor) -> Tensor:
        return patches[:, self.rows][:, :, self.columns]


def centre_crop(canvas: Tensor) -> Tensor:
    """Cut the 120x120 patch out of (B, C, H, W) canvases: [132:252, 180:300] at the published size."""
    row, column = patch_offset((canvas.shape[-2], canvas.shape[-1]))
    return canvas[..., row : row + PATCH, column : column + PATCH]


def count_flops(network: nn.Module, canvas: tuple[int, int]) -> float:
    """Floating-point operations of training on one image of (rows, columns); backward counts as twice forward.

    The network is left in eval mode.
    """
    image = torch.zeros(1, 3, *canvas, device=next(network.parameters()).device)
    # The counter's own count of the backward pass is wrong for grouped convolutions.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    return 3.0 * counter.get_total_flops()
