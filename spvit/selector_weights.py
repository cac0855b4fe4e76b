"""Selectors in the checkpoints that SPViT and DynamicViT publish, by the names of `MultiHeadSelector`.

Both keep them under `score_predictor.STAGE`. SPViT stores one copy of the shared MLP per head (`in_conv.HEAD.0`);
DynamicViT has a single MLP over the full width (`in_conv.0`), which is our selector with one head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spvit.errors import CheckpointError
from spvit.options import HeadWeighting

PREFIX = "score_predictor."
_HEAD_COPY = re.compile(r"(in_conv|out_conv)\.(\d+)\.(\d+)\.(weight|bias)")
_RENAMED = (
    ("in_conv.0.", "norm."),
    ("in_conv.1.", "project."),
    ("out_conv.0.", "hidden."),
    ("out_conv.2.", "narrow."),
    ("out_conv.4.", "out."),
    ("senet.", "weigh."),
)


@dataclass(frozen=True, kw_only=True)
class SelectorWeights:
    """One selector of a published checkpoint; `state` fits a `MultiHeadSelector` of these heads and weighting."""

    num_heads: int
    weighting: HeadWeighting
    state: Mapping[str, Tensor]


def split_selectors(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[SelectorWeights, ...]]:
    """The backbone's weights, and the selectors in the order of their stages (none in a plain checkpoint).

    Raises:
        CheckpointError: the heads of one selector differ, which the method's shared MLP cannot express.
    """
    backbone = {name: value for name, value in weights.items() if not name.startswith(PREFIX)}
    stages: dict[int, dict[str, Tensor]] = {}
    for name in weights.keys() - backbone.keys():
        stage, _, rest = name.removeprefix(PREFIX).partition(".")
        if not stage.isdecimal():
            raise CheckpointError(f"A selector's name was required to be {PREFIX}STAGE..., but {name} came.")
        stages.setdefault(int(stage), {})[rest] = weights[name]
    return backbone, tuple(_selector(stage, stages[stage]) for stage in sorted(stages))


def _selector(stage: int, weights: Mapping[str, Tensor]) -> SelectorWeights:
    heads = {int(match[2]) for name in weights if (match := _HEAD_COPY.fullmatch(name))}
    for head in heads:
        _check_equal(stage, head, weights)
    state = {_renamed(_without_head(name)): value for name, value in weights.items() if _is_first_copy(name)}
    weighting = HeadWeighting.SENET if any(name.startswith("weigh.") for name in state) else HeadWeighting.MEAN
    return SelectorWeights(num_heads=max(1, len(heads)), weighting=weighting, state=state)


def _check_equal(stage: int, head: int, weights: Mapping[str, Tensor]) -> None:
    for name, value in weights.items():
        match = _HEAD_COPY.fullmatch(name)
        if not match or int(match[2]) != head:
            continue
        first = weights.get(f"{match[1]}.0.{match[3]}.{match[4]}")
        if first is None or not torch.equal(first, value):
            raise CheckpointError(
                f"The heads of selector {stage} were required to share one MLP, but {PREFIX}{stage}.{name} differs "
                "from that of head 0."
            )


def _is_first_copy(name: str) -> bool:
    match = _HEAD_COPY.fullmatch(name)
    return match is None or match[2] == "0"


def _without_head(name: str) -> str:
    return _HEAD_COPY.sub(r"\1.\3.\4", name)


def _renamed(name: str) -> str:
    for theirs, ours in _RENAMED:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    raise CheckpointError(f"A selector has no part that fits {PREFIX}N.{name}.")
