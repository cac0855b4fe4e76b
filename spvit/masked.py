"""The masked form as a module that takes images and gives logits, to be evaluated and timed like any other."""

from __future__ import annotations

from torch import Tensor, nn

from spvit.options import TokenForm
from spvit.pruned_model import PrunedModel


class MaskedViT(nn.Module):
    """A pruned model that leaves dropped tokens in place, where no other token sees them (SPViT, section 3.3).

    The logits are the gathered form's; the cost is more than the dense model's.

    Args:
        model: runs with its own weights; nothing is copied.
    """

    def __init__(self, model: PrunedModel) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W)."""
        return self.model.run(images, form=TokenForm.MASKED).logits
