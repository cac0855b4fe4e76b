from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock

from spvit.last_block import can_skip_patches, prefix_after

VARIANTS = [{}, {"qk_norm": True}, {"qkv_bias": False}, {"init_values": 0.3}, {"scale_attn_norm": True}]


@pytest.mark.parametrize("num_prefix", [1, 2, 5])
@pytest.mark.parametrize("args", VARIANTS)
def test_the_prefix_is_what_the_whole_block_makes_of_it(
    make_backbone: Callable[..., Any], args: dict[str, Any], num_prefix: int
) -> None:
    block, x = make_backbone(**args).blocks[-1], 3 * torch.randn(2, 30, 48)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    assert can_skip_patches(block)
    with torch.no_grad():
        whole = block(x)[:, :num_prefix]
        torch.testing.assert_close(prefix_after(block, x, num_prefix), whole, rtol=1e-5, atol=1e-5)
        half = prefix_after(block.bfloat16(), x.bfloat16(), num_prefix)
        assert (half.float() - whole).norm() < 0.03 * whole.norm()


def test_a_gated_attention_is_gated(make_backbone: Callable[..., Any]) -> None:
    block, x = make_backbone().blocks[-1], torch.randn(2, 30, 48)
    block.attn.gate = torch.nn.Linear(48, 48)
    with torch.no_grad():
        torch.testing.assert_close(prefix_after(block, x, 1), block(x)[:, :1], rtol=1e-5, atol=1e-5)


def test_other_blocks_are_left_to_themselves() -> None:
    assert not can_skip_patches(ResPostBlock(48, 3))
    assert not can_skip_patches(ParallelScalingBlock(48, 3))
