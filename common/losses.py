"""The multi-task loss: named losses, weighted in one place (FACTS.md section 2)."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def lesion_losses(outputs: Mapping[str, Tensor], mask: Tensor, cluster: Tensor) -> dict[str, Tensor]:
    """The unweighted losses of a batch, one for each output the network has.

    Args:
        outputs: {"mask": (B, 1, H, W) logits} and, with the head, {"cluster": (B, K) logits}.
        mask: (B, 1, H, W) target of 0/1 over the whole canvas, mirrored like the image.
        cluster: (B,) int64 shape clusters.

    Returns:
        {"mask": mean binary cross-entropy, "cluster": mean cross-entropy}, float32 scalars.
    """
    losses = {"mask": binary_cross_entropy_with_logits(outputs["mask"].float(), mask.float())}
    if "cluster" in outputs:
        losses["cluster"] = cross_entropy(outputs["cluster"].float(), cluster)
    return losses


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The loss that is trained on. A loss without a weight is an error, not a silent 0."""
    total = sum(weights[name] * loss for name, loss in losses.items())
    assert isinstance(total, Tensor)
    return total
