"""The latency that a batch's decisions stand for, differentiably: the term that SPViT names and its code lacks."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from spvit.errors import ConfigError
from spvit.options import SelectorKind
from spvit.pruned_model import PrunedModel
from trainers.latency_target import LatencyCurve, LatencyTarget


class LatencySurrogate(nn.Module):
    """Milliseconds of a model whose selectors keep given shares of the patches, which need not be whole tokens.

    The sum of a latency table (stem, head, every block, the last one as it is measured for pruned models, and every
    selection at its number of tokens), linear between measured token counts and beyond them. At whole counts within the
    table it equals `latency_tables.predict`.

    Args:
        target: the table's curves and the budget.
        model: whose blocks and selectors are priced; one that pools its patches on the way is not understood.
        selector: kind of the model's selectors.

    Raises:
        ConfigError: the model pools its patches, or the table does not know its selectors.
    """

    num_blocks: Tensor
    num_extra: Tensor

    def __init__(self, target: LatencyTarget, model: PrunedModel, selector: SelectorKind) -> None:
        super().__init__()
        if len(model.geometry.levels) > 1:
            raise ConfigError(
                f"losses.latency must be 0 for a model that pools its patches, but {type(model.backbone).__name__} has "
                f"{len(model.geometry.levels)} levels. The search keeps to the budget without this term as well."
            )
        self.blocks, self.selections = _Curve(target.blocks), _Curve(target.selections_of(selector))
        self._target, self._num_patches = target, model.geometry.num_patches
        selections = model.plan.selections
        # The unpruned model is timm's own, which computes its last block in full.
        self.last_block = _Curve(target.last_block) if target.last_block is not None and selections else None
        num_whole = len(model.plan.block_tokens) - (self.last_block is not None)
        borders = [0, *(selection.block for selection in selections), num_whole]
        packages = [0, *(selection.num_packages_after for selection in selections)]
        num_blocks = torch.tensor([float(end - start) for start, end in pairwise(borders)])
        self.register_buffer("num_blocks", num_blocks, persistent=False)
        num_extra = torch.tensor([float(model.geometry.num_prefix_tokens + number) for number in packages])
        self.register_buffer("num_extra", num_extra, persistent=False)

    def forward(self, kept_shares: Tensor) -> Tensor:
        """Milliseconds, a scalar, of kept patches over all patches after each selector, (S,)."""
        patches = torch.cat((kept_shares.new_ones(1), kept_shares)) * self._num_patches
        num_tokens = patches + self.num_extra
        blocks: Tensor = (self.num_blocks * self.blocks(num_tokens)).sum()  # a product `@` would be autocast
        selections: Tensor = self.selections(num_tokens[:-1]).sum()
        milliseconds = self._target.fixed_ms + blocks + selections
        return milliseconds if self.last_block is None else milliseconds + self.last_block(num_tokens[-1])

    def excess(self, kept_shares: Tensor) -> Tensor:
        """Share by which the budget is exceeded; 0 within it, where no gradient pulls any further."""
        ratio: Tensor = self(kept_shares) / self._target.budget_ms
        return functional.relu(ratio - 1.0)


class _Curve(nn.Module):
    """Piecewise linear; the first and the last piece go on beyond the ends, so that a gradient is left there."""

    knots: Tensor
    values: Tensor

    def __init__(self, curve: LatencyCurve) -> None:
        super().__init__()
        self.register_buffer("knots", torch.tensor(curve.num_tokens, dtype=torch.float32), persistent=False)
        self.register_buffer("values", torch.tensor(curve.times_ms, dtype=torch.float32), persistent=False)

    def forward(self, at: Tensor) -> Tensor:
        """Milliseconds at fractional token counts, of the same shape."""
        right = torch.searchsorted(self.knots, at.detach()).clamp(1, len(self.knots) - 1)
        left = right - 1
        slope = (self.values[right] - self.values[left]) / (self.knots[right] - self.knots[left])
        return self.values[left] + slope * (at - self.knots[left])
