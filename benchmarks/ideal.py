"""The time that pruning would take if choosing and removing tokens were free: stem, blocks and head, and nothing else.

Every block runs on as many tokens as it has in the pruned model, right after the block before it as in a forward pass;
where the number changes, tokens that lie ready are taken. So this is the sum of the blocks' latencies in their chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spvit.attention import embed
from spvit.last_block import prefix_after


class Ideal:
    """The blocks of a backbone on given numbers of tokens.

    Args:
        backbone: a timm vision transformer; shared, not copied.
        images: (B, 3, H, W), from which the tokens that lie ready are made.
        block_tokens: for every block the tokens that its attention and its MLP see.
        shortens_last: the last block computes its prefix tokens alone, as in our model.
    """

    def __init__(
        self, backbone: Any, images: Tensor, block_tokens: Sequence[tuple[int, int]], *, shortens_last: bool
    ) -> None:
        self.backbone, self.block_tokens, self.shortens_last = backbone, tuple(block_tokens), shortens_last
        with torch.no_grad():
            tokens = embed(backbone, images)
            counts = {count for both in self.block_tokens for count in both}
            self.ready = {count: tokens[:, :count].contiguous() for count in counts}

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, classes), of the right shape and no meaning."""
        x = embed(self.backbone, images)
        *blocks, last = zip(self.backbone.blocks, self.block_tokens, strict=True)
        for block, (in_attention, in_mlp) in blocks:
            x = self._block(block, self._with(x, in_attention), in_mlp)
        x = self._last(last[0], self._with(x, last[1][0]), last[1][1])
        logits: Tensor = self.backbone.forward_head(self.backbone.norm(x))
        return logits

    def _last(self, block: Any, x: Tensor, in_mlp: int) -> Tensor:
        if self.shortens_last:
            return prefix_after(block, x, self.backbone.num_prefix_tokens)
        return self._block(block, x, in_mlp)

    def _block(self, block: Any, x: Tensor, in_mlp: int) -> Tensor:
        if x.shape[1] == in_mlp:
            whole: Tensor = block(x)
            return whole
        x = self._with(x + block.ls1(block.attn(block.norm1(x))), in_mlp)
        left: Tensor = x + block.ls2(block.mlp(block.norm2(x)))
        return left

    def _with(self, x: Tensor, count: int) -> Tensor:
        return x if x.shape[1] == count else self.ready[count]
