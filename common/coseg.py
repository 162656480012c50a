"""ACoseg (Agarwal et al. 2020): DeepLabV3+ whose features are scaled by channel attention before the decoder.

In the released code nothing passes between the two images of a pair, so the network takes one batch of images like
any other; only training feeds it in pairs (FACTS.md sections 1 and 2).
"""

import segmentation_models_pytorch as smp
from torch import Tensor, nn

HIDDEN = 4096
"""Width of the attention's hidden layer."""


class CosegNet(nn.Module):
    """The A1 network with attention over the channels of the deepest and of the stride-4 features.

    The released class registers the network's parts a second time under names of their own, so its checkpoints
    hold most tensors twice; the same is done here.
    """

    def __init__(self, encoder: str) -> None:
        super().__init__()
        self.deeplab_model = smp.DeepLabV3Plus(encoder, encoder_weights=None, encoder_output_stride=16, classes=1)
        self.deeplab_encoder = self.deeplab_model.encoder
        deep, shallow = self.deeplab_encoder.out_channels[-1], self.deeplab_encoder.out_channels[2]
        self.mlp1a, self.mlp2a = nn.Linear(deep, HIDDEN), nn.Linear(HIDDEN, deep)
        self.mlp1b, self.mlp2b = nn.Linear(shallow, HIDDEN), nn.Linear(HIDDEN, shallow)
        self.deeplab_decoder = self.deeplab_model.decoder
        self.deeplab_seghead = self.deeplab_model.segmentation_head

    @property
    def encoder(self) -> nn.Module:
        """The encoder, under the name that the other networks give it."""
        return self.deeplab_encoder

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) normalised images to {"mask": (B, 1, H, W) logits}."""
        features = list(self.deeplab_encoder(images))
        features[-1] = _attend(features[-1], self.mlp1a, self.mlp2a)
        features[2] = _attend(features[2], self.mlp1b, self.mlp2b)
        return {"mask": self.deeplab_seghead(self.deeplab_decoder(features))}


def _attend(features: Tensor, squeeze: nn.Linear, excite: nn.Linear) -> Tensor:
    """Scale each channel of (B, C, h, w) features by a weight in 0..1 that follows from all channels' means."""
    weights = excite(squeeze(features.mean(dim=(2, 3))).tanh()).sigmoid()
    return features * weights[:, :, None, None]
