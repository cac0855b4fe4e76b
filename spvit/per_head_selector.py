"""The multi-head selector as SPViT's text has it: every head has an MLP of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from spvit.head_weights import head_weights, mean_over_tokens, scores_of_heads, squeeze_and_excite
from spvit.options import HeadWeighting
from spvit.selector import INITIAL_MARGIN, LearnedSelector, Scores, reset_linears, shift_two_logits


class HeadwiseLinear(nn.Module):
    """One linear map for each head: (H, N, in) to (H, N, out), in one batched product."""

    def __init__(self, num_heads: int, num_in: int, num_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_heads, num_in, num_out))
        self.bias = nn.Parameter(torch.zeros(num_heads, 1, num_out))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights as `nn.Linear` draws them, biases 0."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply every head's own map."""
        return torch.baddbmm(self.bias, x, self.weight)


class PerHeadSelector(LearnedSelector):
    """SPViT's selector (section 3.1, eq. 3 to 6) with weights for each head.

    SPViT's code shares one MLP among the heads; `MultiHeadSelector` is that. Same arguments, H times the parameters.

    Raises:
        ValueError: the width of a head is no multiple of 4, so that the MLP cannot halve it twice.
    """

    def __init__(self, dim: int, num_heads: int, *, weighting: HeadWeighting = HeadWeighting.SENET) -> None:
        super().__init__()
        if dim % (4 * num_heads):
            raise ValueError(f"A selector needs heads of a width divisible by 4, but {dim} is cut into {num_heads}.")
        self.num_heads = num_heads
        width = dim // num_heads
        self.norm_weight = nn.Parameter(torch.ones(num_heads, width))
        self.norm_bias = nn.Parameter(torch.zeros(num_heads, width))
        self.project = HeadwiseLinear(num_heads, width, width)
        self.hidden = HeadwiseLinear(num_heads, width, width // 2)
        self.narrow = HeadwiseLinear(num_heads, width // 2, width // 4)
        self.out = HeadwiseLinear(num_heads, width // 4, 2)
        self.weigh = squeeze_and_excite(num_heads, weighting)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start near "keep everything"."""
        reset_linears(self)
        for layer in (self.project, self.hidden, self.narrow, self.out):
            layer.reset_parameters()
        self.shift_margin(INITIAL_MARGIN)

    def shift_margin(self, shift: float) -> None:
        """See `LearnedSelector.shift_margin`."""
        shift_two_logits(self.out.bias, shift)

    def _scores(self, tokens: Tensor, policy: Tensor | None) -> Scores:
        heads = tokens.reshape(*tokens.shape[:2], self.num_heads, -1)
        return scores_of_heads(self._margins(heads, policy), head_weights(self.weigh, heads), tokens.shape[:2])

    def _margins(self, heads: Tensor, policy: Tensor | None) -> Tensor:
        """Margins (H, B M) of every head, for tokens cut into heads (B, M, H, d)."""
        batch, length, num_heads, width = heads.shape
        normed = functional.layer_norm(heads, (width,)) * self.norm_weight + self.norm_bias
        by_head = normed.view(-1, num_heads, width).transpose(0, 1)
        z = functional.gelu(self.project(by_head)).view(num_heads, batch, length, width)
        context = mean_over_tokens(z[..., width // 2 :].permute(1, 2, 0, 3), policy).permute(2, 0, 1, 3)
        joined = torch.cat((z[..., : width // 2], context.expand(-1, -1, length, -1)), dim=-1)
        x = functional.gelu(self.hidden(joined.reshape(num_heads, batch * length, width)))
        logits: Tensor = self.out(functional.gelu(self.narrow(x)))
        return logits[..., 0] - logits[..., 1]
