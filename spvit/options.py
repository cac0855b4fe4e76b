"""The choices that the method leaves open. No torch, so that an experiment can name them before it is loaded."""

from enum import StrEnum


class SelectorKind(StrEnum):
    """How a token's score is computed.

    MULTI_HEAD: one small MLP, shared by the heads, scores every head's slice of a token (SPViT's code).
    PER_HEAD: the same, but each head has an MLP of its own (SPViT's text).
    SINGLE_HEAD: one MLP over the token's full width (DynamicViT's predictor).
    LIGHT: a norm and one linear map: a tenth of the cost.
    CLASS_ATTENTION: what the class token attends to in the block to come; nothing to learn.
    """

    MULTI_HEAD = "multi_head"
    PER_HEAD = "per_head"
    SINGLE_HEAD = "single_head"
    LIGHT = "light"
    CLASS_ATTENTION = "class_attention"


class HeadWeighting(StrEnum):
    """How a multi-head selector weighs its heads: a squeeze-and-excite branch (SPViT, eq. 5) or their plain mean."""

    SENET = "senet"
    MEAN = "mean"


class TokenForm(StrEnum):
    """How the same weights are run.

    GATHERED: dropped tokens are removed; every image keeps exactly the schedule's counts. What is trained by default,
        exported and priced by latency tables.
    MASKED: dropped tokens stay but no other token sees them (the paper's training).
    ADAPTIVE: dropped tokens are removed; every image keeps the tokens above calibrated thresholds, so that images keep
        different numbers. For inference alone.
    """

    GATHERED = "gathered"
    MASKED = "masked"
    ADAPTIVE = "adaptive"


class Serving(StrEnum):
    """How images that keep different numbers of tokens go through the network together.

    PADDED: as one batch, as long as its longest image; nobody sees the padding.
    BUCKETED: after every selector those that keep about as many go on by themselves.
    """

    PADDED = "padded"
    BUCKETED = "bucketed"
