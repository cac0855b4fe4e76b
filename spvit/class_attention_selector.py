"""The selector without parameters: what the class token attends to stays."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from spvit.attention import class_attention
from spvit.selector import Scores, TokenSelector, full_precision


class ClassAttentionSelector(TokenSelector):
    """Scores a token by the attention that the class token pays it in the block to come, not in the one before as EViT.

    The strong simple baseline. Nothing is learned through its decisions, so training neither perturbs them nor sends
    gradients through them: the attention itself learns from the block's own work.
    """

    is_learned: ClassVar[bool] = False

    def score(self, sequence: Tensor, *, num_prefix: int, block: nn.Module, policy: Tensor | None = None) -> Scores:
        """See `TokenSelector.score`. The margin is the logarithm of attention over its mean, 0 where it is average."""
        with torch.no_grad(), full_precision(sequence):
            visible = None if policy is None else _with_prefix(policy.detach(), num_prefix)
            tokens = sequence.to(cast("Any", block).attn.qkv.weight.dtype)
            attention = class_attention(block, tokens, visible)[:, num_prefix:]
            share = attention / attention.sum(1, keepdim=True).clamp_min(torch.finfo(attention.dtype).tiny)
            # Among those still there: the same token has the same margin whether dropped ones are gone or masked.
            count = share.shape[1] if policy is None else policy.detach().sum(1, keepdim=True)
            return Scores((share * count).clamp_min(torch.finfo(share.dtype).tiny).log(), share)


def _with_prefix(policy: Tensor, num_prefix: int) -> Tensor:
    return torch.cat((policy.new_ones(len(policy), num_prefix), policy), dim=1)
