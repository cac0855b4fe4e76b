import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from spvit.attention import (
    bool_policy_mask,
    class_attention,
    embed,
    log_policy_mask,
    lookahead_attentions,
    received_attention,
)


def softmax_with_policy(logits: Tensor, policy: Tensor, eps: float = 1e-6) -> Tensor:
    """DynamicViT's masked softmax, as SPViT trains with it."""
    size = policy.shape[1]
    eye = torch.eye(size, dtype=policy.dtype)
    visible = (policy[:, None, :] + (1 - policy[:, None, :]) * eye).unsqueeze(1)
    raised = (logits - logits.max(-1, keepdim=True).values).exp() * visible
    return (raised + eps / size) / (raised.sum(-1, keepdim=True) + eps)


def policies() -> Tensor:
    policy = (torch.rand(2, 10) > 0.4).double()
    policy[:, 0] = 1
    return policy.requires_grad_()


def test_value_and_policy_gradient_equal_softmax_with_policy() -> None:
    q, k, v, pull = (torch.randn(2, 3, 10, 8, dtype=torch.double) for _ in range(4))
    ours, theirs = policies(), None
    theirs = ours.detach().clone().requires_grad_()
    masked = F.scaled_dot_product_attention(q, k, v, attn_mask=log_policy_mask(ours))
    reference = softmax_with_policy(q @ k.transpose(-1, -2) * 8**-0.5, theirs) @ v
    (masked * pull).sum().backward()
    (reference * pull).sum().backward()
    torch.testing.assert_close(masked, reference, rtol=0, atol=1e-5)
    assert (ours.grad - theirs.grad).norm() < 1e-4 * theirs.grad.norm()


def test_the_bool_mask_gives_visible_tokens_what_they_have_alone() -> None:
    q, k, v = (torch.randn(1, 3, 10, 8) for _ in range(3))
    policy = torch.ones(1, 10)
    policy[:, 6:] = 0
    masked = F.scaled_dot_product_attention(q, k, v, attn_mask=bool_policy_mask(policy))[:, :, :6]
    alone = F.scaled_dot_product_attention(q[:, :, :6], k[:, :, :6], v[:, :, :6])
    torch.testing.assert_close(masked, alone)


@pytest.mark.parametrize("args", [{}, {"qk_norm": True}, {"qkv_bias": False}, {"init_values": 0.1}])
def test_class_attention_is_what_the_block_computes(
    make_backbone: Callable[..., Any], images: Tensor, args: dict[str, Any]
) -> None:
    block = make_backbone(**args).blocks[0]
    x, seen = torch.randn(2, 9, 48) * 3, []
    block.attn.fused_attn = False
    block.attn.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        block(x)
        ours = class_attention(block, x)
    torch.testing.assert_close(ours, seen[0][:, :, 0].mean(1))


@pytest.mark.parametrize("args", [{}, {"qk_norm": True}])
def test_class_attention_under_a_policy_is_that_over_what_is_left(
    make_backbone: Callable[..., Any], args: dict[str, Any]
) -> None:
    block, x = make_backbone(**args).blocks[0], torch.randn(2, 9, 48) * 3
    policy = torch.tensor([1.0, 1, 0, 1, 0, 1, 1, 0, 1]).expand(2, -1)
    with torch.no_grad():
        masked, alone = class_attention(block, x, policy), class_attention(block, x[:, policy[0] > 0])
    torch.testing.assert_close(masked[:, policy[0] > 0], alone)
    assert (masked[:, policy[0] == 0] == 0).all()


def class_attentions(backbone: Any, images: Tensor) -> list[Tensor]:
    """The class token's attention over patches in every block, summing to 1."""
    spreads = []
    x = embed(backbone, images)
    for block in backbone.blocks:
        patches = class_attention(block, x)[:, backbone.num_prefix_tokens :]
        spreads.append(patches / patches.sum(1, keepdim=True))
        x = block(x)
    return spreads


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_lookahead_is_the_mean_over_the_blocks_to_come(
    make_backbone: Callable[..., Any], images: Tensor, name: str
) -> None:
    backbone = make_backbone(name)
    depth = len(backbone.blocks)
    every = [spread.detach() for spread in class_attentions(backbone, images)]
    caught = []
    handle = backbone.blocks[1].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    backbone(images)
    handle.remove()
    found = lookahead_attentions(backbone, images, [1, depth - 1])
    assert sorted(found) == [1, depth - 1]
    assert not found[1].importance.requires_grad
    torch.testing.assert_close(found[1].importance.sum(1), torch.ones(3))
    assert torch.equal(found[1].tokens, caught[0][:, backbone.num_prefix_tokens :])
    torch.testing.assert_close(found[1].importance, sum(every[b] for b in range(1, depth)) / (depth - 1))
    torch.testing.assert_close(found[depth - 1].importance, every[depth - 1])
    assert lookahead_attentions(backbone, images, ()) == {}


def test_lookahead_keeps_no_tokens_but_those_asked_for(make_backbone: Callable[..., Any], images: Tensor) -> None:
    backbone, entered, alive = make_backbone(), [], []

    def note(_: Any, inputs: tuple[Tensor]) -> None:
        alive.append([number for number, tokens in enumerate(entered) if tokens() is not None])
        entered.append(weakref.ref(inputs[0]))

    for block in backbone.blocks:
        block.register_forward_pre_hook(note)
    lookahead_attentions(backbone, images, [1])
    assert alive[-1] == [1]


@pytest.mark.parametrize("args", [{}, {"qk_norm": True}, {"qkv_bias": False}])
def test_received_attention_is_the_mean_of_timms_rows(
    make_backbone: Callable[..., Any], images: Tensor, args: dict[str, Any]
) -> None:
    backbone = make_backbone("vit_tiny_patch16_224", **args)
    block, attn = backbone.blocks[2], backbone.blocks[2].attn
    tokens, rows = torch.randn(3, 65, 48), []
    attn.fused_attn = False
    attn.attn_drop.register_forward_hook(lambda module, inputs, output: rows.append(inputs[0]))
    with torch.no_grad():
        block(tokens)
        found = received_attention(block, tokens)
    torch.testing.assert_close(found, rows[0].mean((1, 2)))
    torch.testing.assert_close(found.sum(1), torch.ones(3))


def test_lookahead_without_a_class_token_is_what_patches_receive(
    make_backbone: Callable[..., Any], images: Tensor
) -> None:
    backbone = make_backbone("vit_tiny_patch16_224", global_pool="avg", class_token=False, reg_tokens=2)
    (found,) = lookahead_attentions(backbone, images, [5]).values()
    with torch.no_grad():
        tokens = backbone.blocks[:5](embed(backbone, images))
        received = received_attention(backbone.blocks[5], tokens)[:, 2:]
    torch.testing.assert_close(found.tokens, tokens[:, 2:])
    torch.testing.assert_close(found.importance, received / received.sum(1, keepdim=True))
