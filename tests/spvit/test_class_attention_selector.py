from collections.abc import Callable
from typing import Any

import pytest
import torch

from spvit.class_attention_selector import ClassAttentionSelector


@pytest.mark.parametrize("args", [{}, {"qk_norm": True}])
def test_scores_are_those_of_float32_under_autocast(make_backbone: Callable[..., Any], args: dict[str, Any]) -> None:
    block, x = make_backbone(**args).blocks[0], torch.randn(2, 9, 48) * 3
    policy = torch.tensor([1.0, 1, 0, 1, 0, 1, 1, 1]).expand(2, -1)
    exact = ClassAttentionSelector().score(x, num_prefix=1, block=block, policy=policy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = ClassAttentionSelector().score(x, num_prefix=1, block=block, policy=policy)
    assert torch.equal(scores.margin, exact.margin)
    assert torch.equal(scores.keep_probability, exact.keep_probability)


def test_tokens_in_half_precision_are_scored_by_whole_weights(make_backbone: Callable[..., Any]) -> None:
    block, x = make_backbone().blocks[0], torch.randn(2, 9, 48).bfloat16()
    exact = ClassAttentionSelector().score(x.float(), num_prefix=1, block=block)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ClassAttentionSelector().score(x, num_prefix=1, block=block).margin, exact.margin)
