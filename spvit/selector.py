"""What every token selector has in common: it scores the patches in front of a block."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

INITIAL_KEEP_PROBABILITY = 0.9
INITIAL_MARGIN = math.log(INITIAL_KEEP_PROBABILITY / (1 - INITIAL_KEEP_PROBABILITY))
"""Selectors start near "keep everything": from P(keep) = 0.5 the first steps of a training collapse."""


class Scores(NamedTuple):
    """What a selector thinks of each token: `margin` and `keep_probability`, both (B, M) in float32 or better.

    `margin` is the keep logit minus the drop logit; sampling keeps a token with probability sigmoid(margin).
    `keep_probability` averages the heads' probabilities and weighs a token within its package.
    """

    margin: Tensor
    keep_probability: Tensor


class TokenSelector(nn.Module, ABC):
    """Scores the tokens that a block is about to see."""

    is_learned: ClassVar[bool] = True
    """Whether it has parameters that training may teach, with noise and gradients through its decisions."""

    @abstractmethod
    def score(self, sequence: Tensor, *, num_prefix: int, block: nn.Module, policy: Tensor | None = None) -> Scores:
        """Score patches and packages.

        Args:
            sequence: (B, N, C), laid out as [prefix tokens, patches, package tokens].
            num_prefix: prefix tokens, which are not scored.
            block: the timm block that the selector stands before.
            policy: (B, N - num_prefix), 1 for tokens that are still there; all are where it is None.
        """


class LearnedSelector(TokenSelector):
    """A selector that is a function of the tokens alone, `forward(tokens, policy)`; subclasses have `_scores`."""

    def score(
        self,
        sequence: Tensor,
        *,
        num_prefix: int,
        block: nn.Module,  # noqa: ARG002
        policy: Tensor | None = None,
    ) -> Scores:
        """See `TokenSelector.score`."""
        scores: Scores = self(sequence[:, num_prefix:], policy)
        return scores

    def forward(self, tokens: Tensor, policy: Tensor | None = None) -> Scores:
        """Score tokens (B, M, C): patches and packages; `policy` (B, M) is 1 for those that are still there."""
        # Even to enter a context that does nothing costs a DeiT-T's light selector a twentieth of its time.
        if not torch.is_autocast_enabled(tokens.device.type):
            return self._scores(tokens, policy)
        with full_precision(tokens):
            return self._scores(tokens.to(next(self.parameters()).dtype), policy)

    @abstractmethod
    def _scores(self, tokens: Tensor, policy: Tensor | None) -> Scores:
        """What `forward` gives, for tokens in the precision of the weights, where there is no autocast."""

    @abstractmethod
    def shift_margin(self, shift: float) -> None:
        """Add `shift` to the margin of every token, which changes how many are wanted but not which."""


def full_precision(tokens: Tensor) -> AbstractContextManager[object]:
    """Without autocast: half precision overflows in the noise and loses the order of near ties."""
    device = tokens.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def reset_linears(module: nn.Module) -> None:
    """Weights as torch draws them, biases 0.

    Not from trunc_normal(.02) as in SPViT's code: with those, 100 steps of learning a ranking brought .34/.24/.14 to
    52 % where these brought it to 71 % (dense: 85 %).
    """
    for child in module.modules():
        if isinstance(child, nn.Linear):
            child.reset_parameters()
            nn.init.zeros_(child.bias)


@torch.no_grad()
def shift_two_logits(bias: Tensor, shift: float) -> None:
    """Add to the margin of logits (keep, drop) through their bias (..., 2)."""
    bias.add_(torch.tensor([0.5 * shift, -0.5 * shift]).to(bias))
