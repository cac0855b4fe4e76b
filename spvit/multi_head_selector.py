"""SPViT's token selector: one small MLP scores every head's slice of a token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spvit.head_weights import head_weights, mean_over_tokens, scores_of_heads, squeeze_and_excite
from spvit.options import HeadWeighting
from spvit.selector import INITIAL_MARGIN, LearnedSelector, Scores, reset_linears, shift_two_logits

WIDE = 24
"""Features of a hidden layer from which on tokens come first there."""


class MultiHeadSelector(LearnedSelector):
    """SPViT's multi-head token selector (section 3.1, eq. 3 to 6): an MLP shared by all heads, and head weights.

    With one head and `HeadWeighting.MEAN` it is DynamicViT's predictor.

    Args:
        dim: width of a token.
        num_heads: slices a token is cut into, as the attention cuts it.
        weighting: how the heads' margins are averaged. One head needs no weights.

    Raises:
        ValueError: the width of a head is no multiple of 4, so that the MLP cannot halve it twice.
    """

    def __init__(self, dim: int, num_heads: int, *, weighting: HeadWeighting = HeadWeighting.SENET) -> None:
        super().__init__()
        if dim % (4 * num_heads):
            raise ValueError(f"A selector needs heads of a width divisible by 4, but {dim} is cut into {num_heads}.")
        self.num_heads = num_heads
        width = dim // num_heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, width)
        self.hidden = nn.Linear(width, width // 2)
        self.narrow = nn.Linear(width // 2, width // 4)
        self.out = nn.Linear(width // 4, 2)
        self.weigh = squeeze_and_excite(num_heads, weighting)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start near "keep everything"."""
        reset_linears(self)
        self.shift_margin(INITIAL_MARGIN)

    def shift_margin(self, shift: float) -> None:
        """See `LearnedSelector.shift_margin`."""
        shift_two_logits(self.out.bias, shift)

    def _scores(self, tokens: Tensor, policy: Tensor | None) -> Scores:
        heads = tokens.reshape(*tokens.shape[:2], self.num_heads, -1)
        return scores_of_heads(self._margins(heads, policy), head_weights(self.weigh, heads), tokens.shape[:2])

    def _margins(self, heads: Tensor, policy: Tensor | None) -> Tensor:
        """Margins (H, B M) of every head, for tokens cut into heads (B, M, H, d).

        From the narrow layer on features come first: products with so few columns, and means over so few heads, cost
        a third less that way (64 images, 49 tokens of 4 x 16; a tenth less for DeiT-S).
        """
        half = heads.shape[-1] // 2
        z = functional.gelu(self.project(self.norm(heads)))
        x = self._hidden(z[..., :half], mean_over_tokens(z[..., half:], policy))
        x = functional.gelu(torch.addmm(self.narrow.bias[:, None], self.narrow.weight, x))
        keep, drop = torch.addmm(self.out.bias[:, None], self.out.weight, x).unbind()
        return (keep - drop).view(-1, self.num_heads).t()

    def _hidden(self, local: Tensor, context: Tensor) -> Tensor:
        """The hidden layer (d / 2, B M H) on each token's own half (B, M, H, d / 2) and on what all share (B, 1, H, .).

        [local ; context] W is local W_local + context W_context; the second product is the same for all tokens. Wide
        heads are laid out like tokens, so that it is added to whole rows (DeiT-S: a selector 7 % cheaper at batch 1).
        """
        batch, length, num_heads, half = local.shape
        for_local, for_context = self.hidden.weight[:, :half], self.hidden.weight[:, half:]
        rows, shared_rows = local.flatten(0, 2), context.reshape(-1, half)
        if half < WIDE:
            x = torch.mm(for_local, rows.t()).view(half, batch, length, num_heads)
            shared = torch.addmm(self.hidden.bias[:, None], for_context, shared_rows.t())
            return functional.gelu(x + shared.view(half, batch, 1, num_heads)).view(half, -1)
        x = torch.mm(rows, for_local.t()).view(batch, length, -1)
        shared = functional.linear(shared_rows, for_context, self.hidden.bias)
        return functional.gelu(x + shared.view(batch, 1, -1)).view(-1, half).t()
