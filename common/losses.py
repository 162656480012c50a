"""The multi-task loss: named losses, weighted in one place (FACTS.md section 2)."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def lesion_losses(
    outputs: Mapping[str, Tensor], mask: Tensor, cluster: Tensor, overlap: bool = False
) -> dict[str, Tensor]:
    """Compute a batch's unweighted losses: one per network output and, if ``overlap``, the soft Dice loss.

    Args:
        outputs: {"mask": (B, 1, H, W) logits} and, with the head, {"cluster": (B, K) logits}.
        mask: (B, 1, H, W) target of 0/1 over the whole canvas, mirrored like the image.
        cluster: (B,) int64 shape clusters.
        overlap: add `overlap_loss`, which the paper does not use.

    Returns:
        {"mask": mean binary cross-entropy, "overlap", "cluster": mean cross-entropy}, float32 scalars.
    """
    logits, mask = outputs["mask"].float(), mask.float()
    losses = {"mask": binary_cross_entropy_with_logits(logits, mask)}
    if overlap:
        losses["overlap"] = overlap_loss(logits, mask)
    if "cluster" in outputs:
        losses["cluster"] = cross_entropy(outputs["cluster"].float(), cluster)
    return losses


def overlap_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss, averaged over lesions: a small lesion counts as much as a large one.

    Args:
        logits: (B, 1, H, W).
        mask: the same shape, 0/1.
    """
    probabilities, pixels = logits.sigmoid(), (1, 2, 3)
    both, sizes = (probabilities * mask).sum(pixels), (probabilities + mask).sum(pixels)
    return (1 - (2 * both + 1) / (sizes + 1)).mean()  # the 1 px keeps an empty mask from dividing by 0


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The total training loss. A loss without a weight raises KeyError instead of counting as 0."""
    total = sum(weights[name] * loss for name, loss in losses.items())
    assert isinstance(total, Tensor)
    return total
