from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from spvit.losses import attention_ranking_loss, distillation_loss, keep_ratio_loss, token_distillation_loss
from spvit.model import PrunedOutput

FRACTIONS = [torch.tensor([0.8, 0.6]), torch.tensor([0.2, 0.2])]


def output(tokens: Tensor, index: Tensor, policy: Tensor) -> PrunedOutput:
    return PrunedOutput(
        logits=torch.zeros(len(tokens), 1), patch_tokens=tokens, patch_index=index, patch_policy=policy, selections=()
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0.0**2 + 0.2**2) / 2),
        ({"per_image": True}, (0.1**2 + 0.1**2 + 2 * 0.2**2) / 4),
        ({"hinge": True}, 0.0),
        ({"per_image": True, "hinge": True}, 0.1**2 / 4),
    ],
)
def test_keep_ratio(options: dict[str, bool], expected: float) -> None:
    torch.testing.assert_close(keep_ratio_loss(FRACTIONS, [0.7, 0.4], **options), torch.tensor(expected))


def test_keep_ratio_without_selectors_is_nothing() -> None:
    assert keep_ratio_loss([], []).item() == 0.0


def test_each_selector_needs_a_target() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        keep_ratio_loss(FRACTIONS, [0.7])


def test_distillation_is_kl_of_teacher_to_student() -> None:
    student, teacher = torch.randn(4, 7, requires_grad=True), torch.randn(4, 7, requires_grad=True)
    p, q = teacher.softmax(-1), student.softmax(-1)
    loss = distillation_loss(student, teacher)
    torch.testing.assert_close(loss, (p * (p / q).log()).sum(-1).mean())
    loss.backward()
    assert teacher.grad is None
    assert distillation_loss(student, student).abs() < 1e-6


def test_temperature_softens_both_and_keeps_the_gradients_size() -> None:
    student, teacher = torch.randn(4, 7, dtype=torch.double), torch.randn(4, 7, dtype=torch.double)
    hot = distillation_loss(student, teacher, temperature=3.0)
    torch.testing.assert_close(hot, 9 * distillation_loss(student / 3, teacher / 3))


def test_tokens_compare_with_the_teachers_at_the_same_place() -> None:
    teacher, index = torch.randn(2, 6, 4), torch.tensor([[0, 3], [2, 5]])
    places = index.unsqueeze(-1).expand(-1, -1, 4)
    assert token_distillation_loss(output(teacher.gather(1, places), index, torch.ones(2, 2)), teacher) == 0
    moved = output(teacher.gather(1, places) + 0.5, index, torch.ones(2, 2))
    torch.testing.assert_close(token_distillation_loss(moved, teacher), torch.tensor(0.25))


def test_masked_and_gathered_outputs_have_the_same_token_loss() -> None:
    teacher, tokens, index = torch.randn(2, 6, 4), torch.randn(2, 6, 4), torch.tensor([[0, 3], [2, 5]])
    policy = torch.zeros(2, 6).scatter(1, index, 1.0)
    masked = output(tokens, torch.arange(6).expand(2, -1), policy)
    gathered = output(tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, 4)), index, torch.ones(2, 2))
    torch.testing.assert_close(token_distillation_loss(masked, teacher), token_distillation_loss(gathered, teacher))


def test_nothing_kept_is_no_token_loss() -> None:
    tokens = torch.randn(2, 6, 4)
    nothing = output(tokens, torch.arange(6).expand(2, -1), torch.zeros(2, 6))
    assert token_distillation_loss(nothing, torch.randn(2, 6, 4)) == 0


def test_ranking_is_the_cross_entropy_with_soft_labels() -> None:
    margin, target = torch.randn(3, 8), torch.rand(3, 8).softmax(-1)
    torch.testing.assert_close(attention_ranking_loss(margin, target), F.cross_entropy(margin, target))
    torch.testing.assert_close(attention_ranking_loss(margin, 5 * target), F.cross_entropy(margin, target))


def test_ranking_is_least_where_margins_are_the_log_of_the_target() -> None:
    target = torch.rand(3, 8).softmax(-1)
    margin = target.log().requires_grad_()
    attention_ranking_loss(margin, target).backward()
    torch.testing.assert_close(margin.grad, torch.zeros(3, 8), atol=1e-6, rtol=0)


def test_token_distillation_without_tokens_is_refused() -> None:
    nothing = output(torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"with_patches=True"):
        token_distillation_loss(replace(nothing, patch_tokens=None), torch.zeros(1, 4, 3))
