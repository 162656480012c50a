"""The networks: DeepLabV3+ with or without the cluster head, or with attention (coseg.py).

Every network here maps a canvas of images to named outputs, {"mask": (B, 1, H, W) logits} and, with the head,
{"cluster": (B, K) logits}.
"""

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common.coseg import CosegNet
from common.errors import UserError
from common.recipe import Method

HEAD_DROPOUT = 0.2
"""Of the cluster head (FACTS.md section 1)."""


class LesionNet(smp.DeepLabV3Plus):
    """DeepLabV3+ at output stride 16, one class, with the cluster head when ``clusters`` is given (A1, A1+L).

    Its tensors bear the released checkpoints' names.
    """

    def __init__(self, encoder: str, clusters: int | None = None) -> None:
        head = None if clusters is None else {"classes": clusters, "pooling": "avg", "dropout": HEAD_DROPOUT}
        super().__init__(encoder, encoder_weights=None, encoder_output_stride=16, classes=1, aux_params=head)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) normalised images to named logits."""
        features = self.encoder(images)
        outputs = {"mask": self.segmentation_head(self.decoder(features))}
        if self.classification_head is not None:
            outputs["cluster"] = self.classification_head(features[-1])
        return outputs


def build_network(method: Method, encoder: str, clusters: int) -> nn.Module:
    """The network of a method, with random weights.

    Raises:
        UserError: segmentation-models-pytorch does not know the encoder.
    """
    if encoder not in smp.encoders.get_encoder_names():
        known = ", ".join(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))
        raise UserError(f"--encoder {encoder} is not an encoder of segmentation-models-pytorch; try one of {known}")
    if method.paired:
        return CosegNet(encoder)
    return LesionNet(encoder, clusters if method.cluster_head else None)


def count_flops(network: nn.Module, canvas: tuple[int, int]) -> float:
    """Floating-point operations of training on one image of (rows, columns), where going back takes twice going forth.

    The network is left in eval mode.
    """
    image = torch.zeros(1, 3, *canvas, device=next(network.parameters()).device)
    # The counter's own count of going back is wrong for convolutions in groups.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    return 3.0 * counter.get_total_flops()
