from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from spvit.model import PrunedViT, dense_tokens
from spvit.options import HeadWeighting, SelectorKind, TokenForm
from spvit.schedule import PackageMode, PruningSchedule

Make = Callable[..., Any]
FORMS = [TokenForm.GATHERED, TokenForm.MASKED]
SCHEDULE = PruningSchedule.from_keep_rates([0.7, 0.5, 0.2], [1, 3, 4])
# Narrow models with the heads of DeiT-T, DeiT-S and DeiT-B, a distilled one (2 prefix tokens), registers, DeiT-3.
SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("deit_tiny_patch16_224", {}),
    ("deit_small_patch16_224", {"num_heads": 6, "embed_dim": 72}),
    ("deit_base_patch16_224", {"num_heads": 12, "embed_dim": 96}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("vit_tiny_patch16_224", {"reg_tokens": 3, "qk_norm": True}),
    ("deit3_small_patch16_224", {}),
]
OPTIONS = [{"package": package, "selector": kind} for package in PackageMode for kind in SelectorKind]


def pruned(backbone: Any, schedule: PruningSchedule = SCHEDULE, **options: Any) -> PrunedViT:
    model = PrunedViT(backbone, schedule, **options).eval()
    for parameter in model.selector_parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("name", "args"), SHAPES)
def test_masked_equals_gathered(
    make_backbone: Make, images: Tensor, name: str, args: dict[str, Any], options: dict[str, Any]
) -> None:
    model = pruned(make_backbone(name, **args), **options)
    with torch.no_grad():
        for block in model.backbone.blocks:  # untrained attention is all but uniform, and rounding decides its order
            block.attn.qkv.weight.mul_(5)
        torch.nn.init.normal_(model.backbone.cls_token)
        logits = model(images)
        masked, gathered = (model.run(images, form=form) for form in (TokenForm.MASKED, TokenForm.GATHERED))
    torch.testing.assert_close(gathered.logits, logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(masked.logits, logits, rtol=0, atol=1e-5)
    stayed = masked.patch_policy.bool()
    assert torch.equal(masked.patch_index[stayed].view(3, -1), gathered.patch_index)
    torch.testing.assert_close(masked.patch_tokens[stayed].view_as(gathered.patch_tokens), gathered.patch_tokens)
    for one, other in zip(masked.selections, gathered.selections, strict=True):
        assert torch.equal(one.num_kept, other.num_kept)


@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("kind", [kind for kind in SelectorKind if kind is not SelectorKind.CLASS_ATTENTION])
@pytest.mark.parametrize("shift", [-30.0, -130.0])
def test_masked_equals_gathered_where_keep_probabilities_underflow(
    make_backbone: Make, images: Tensor, kind: SelectorKind, package: PackageMode, shift: float
) -> None:
    model = pruned(make_backbone(), PruningSchedule.from_keep_rates([0.5, 0.2], [1, 3]), package=package, selector=kind)
    model.selector(1).shift_margin(shift)  # type: ignore[operator]
    with torch.no_grad():
        masked = model.run(images, form=TokenForm.MASKED).logits
        torch.testing.assert_close(masked, model(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "args"), SHAPES)
@pytest.mark.parametrize("schedule", [PruningSchedule(), PruningSchedule.from_keep_rates([1.0, 1.0], [1, 3])])
def test_dropping_nothing_is_timms_own_model(
    make_backbone: Make, images: Tensor, name: str, args: dict[str, Any], schedule: PruningSchedule
) -> None:
    backbone = make_backbone(name, **args)
    model = PrunedViT(backbone, schedule).eval()
    with torch.no_grad():
        expected = backbone(images)
        assert torch.equal(model(images), expected)
        for form in FORMS:
            output = model.run(images, form=form)
            assert torch.equal(output.logits, expected)
            assert torch.equal(output.patch_tokens, dense_tokens(backbone, images)[1])
    assert not model.selector_parameters()


def test_tokens_that_enter_blocks_are_those_of_the_plan(make_backbone: Make, images: Tensor) -> None:
    model, seen = pruned(make_backbone()), []
    for block in model.backbone.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    model.run(images)
    assert tuple(seen) == model.plan.block_tokens


@pytest.mark.parametrize("kind", [kind for kind in SelectorKind if kind is not SelectorKind.CLASS_ATTENTION])
@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("form", FORMS)
def test_the_loss_reaches_every_selector(
    make_backbone: Make, images: Tensor, form: TokenForm, package: PackageMode, kind: SelectorKind
) -> None:
    model = pruned(make_backbone(), package=package, selector=kind).train()
    output = model.run(images, form=form, sample=True)
    output.logits.square().sum().backward()
    for selector in model.selectors.values():
        gradient = torch.cat([p.grad.flatten() for p in selector.parameters()])
        assert torch.isfinite(gradient).all()
        assert gradient.norm() > 0


@pytest.mark.parametrize("form", FORMS)
def test_keep_fractions_carry_a_gradient(make_backbone: Make, images: Tensor, form: TokenForm) -> None:
    model = pruned(make_backbone())
    for s, selection in enumerate(model.run(images, form=form, sample=True).selections):
        assert selection.keep_fraction.shape == (3,)
        model.zero_grad()
        selection.keep_fraction.sum().backward(retain_graph=True)
        assert model.selectors[str(SCHEDULE.blocks[s])].out.weight.grad.norm() > 0


@pytest.mark.parametrize("form", FORMS)
def test_class_attention_decides_alike_in_training_and_evaluation(
    make_backbone: Make, images: Tensor, form: TokenForm
) -> None:
    model = pruned(make_backbone(), selector=SelectorKind.CLASS_ATTENTION).train()
    assert not model.selector_parameters()
    assert not model.has_learned_selectors
    sampled, fixed = model.run(images, form=form, sample=True), model.run(images, form=form)
    assert torch.equal(sampled.patch_index, fixed.patch_index)
    assert torch.equal(sampled.patch_policy, fixed.patch_policy)
    sampled.logits.sum().backward()
    assert all(p.grad is not None for p in model.backbone.blocks[1].attn.parameters())
    for selection in sampled.selections:
        torch.testing.assert_close(selection.keep_fraction, selection.num_kept / 64)


@pytest.mark.parametrize("kind", SelectorKind)
@pytest.mark.parametrize("num_stages", [1, 5])
def test_any_number_of_selectors_before_any_block(
    make_backbone: Make, images: Tensor, kind: SelectorKind, num_stages: int
) -> None:
    """Also before block 0, down to one token of 64, in whole and in half precision."""
    rates = [1.0 - (s + 1) / (num_stages + 1) for s in range(num_stages)]
    rates[-1] = 1 / 64
    model = pruned(make_backbone(), PruningSchedule.from_keep_rates(rates, range(num_stages)), selector=kind)
    with torch.no_grad():
        gathered, masked = model(images), model.run(images, form=TokenForm.MASKED).logits
        torch.testing.assert_close(masked, gathered, rtol=0, atol=1e-5)
        assert model.bfloat16()(images.bfloat16()).isfinite().all()


@pytest.mark.parametrize("args", [{}, {"global_pool": "avg"}])
def test_the_last_block_of_a_pruned_model_computes_what_its_head_reads(
    make_backbone: Make, images: Tensor, args: dict[str, Any]
) -> None:
    model, called = pruned(make_backbone(**args)), []
    model.backbone.blocks[-1].register_forward_hook(lambda *_: called.append(True))
    with torch.no_grad():
        torch.testing.assert_close(model(images), model.run(images).logits, rtol=0, atol=1e-5)
    assert len(called) == (2 if args else 1)  # `run` gives patch tokens, so it runs the block in full


@pytest.mark.parametrize(("name", "args"), SHAPES)
def test_a_last_block_without_patches_trains_as_the_whole_one(
    make_backbone: Make, images: Tensor, name: str, args: dict[str, Any]
) -> None:
    model = pruned(make_backbone(name, proj_drop_rate=0.1, drop_path_rate=0.1, **args)).train()
    found = []
    for with_patches in (True, False):
        torch.manual_seed(1)  # the same noise and the same dropped paths
        for block in model.backbone.blocks[-1:]:
            block.attn.proj_drop.p = 0.0  # of all tokens or of the prefix alone: other draws of the same dropout
            block.mlp.drop1.p = block.mlp.drop2.p = 0.0
        model.zero_grad()
        output = model.run(images, sample=True, with_patches=with_patches)
        output.logits.square().sum().backward()
        found.append((output, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (whole, gradients), (short, short_gradients) = found
    assert short.patch_tokens is None
    assert whole.patch_tokens.shape == (3, 13, model.backbone.embed_dim)
    assert torch.equal(short.patch_index, whole.patch_index)
    torch.testing.assert_close(short.logits, whole.logits, rtol=1e-4, atol=1e-5)
    assert short_gradients.keys() == gradients.keys()
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(short_gradients[parameter], gradient, rtol=1e-3, atol=1e-4, msg=parameter)


@pytest.mark.parametrize("args", [{"global_pool": "avg"}, {"attn_drop_rate": 0.1}])
def test_patches_are_made_where_they_are_needed_all_the_same(
    make_backbone: Make, images: Tensor, args: dict[str, Any]
) -> None:
    """A head reads them, or attention weights are dropped, which only the whole block can do."""
    output = pruned(make_backbone(**args)).train().run(images, sample=True, with_patches=False)
    assert output.patch_tokens.shape == (3, 13, 48)


def test_leading_tokens_can_be_given(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone(), PruningSchedule.from_keep_rates([0.5], [3]))
    assert model.num_leading_blocks == 3
    with torch.no_grad():
        given = model.run(images, leading_tokens=model.leading_tokens(images)).logits
        assert torch.equal(given, model.run(images).logits)


def test_masked_fractions_are_the_decisions(make_backbone: Make, images: Tensor) -> None:
    output = pruned(make_backbone()).run(images, form=TokenForm.MASKED, sample=True)
    fractions = [selection.keep_fraction for selection in output.selections]
    for selection in output.selections:
        torch.testing.assert_close(selection.keep_fraction, selection.num_kept / 64)
    assert all((later <= earlier).all() for earlier, later in pairwise(fractions))
    torch.testing.assert_close(output.patch_policy.mean(1), fractions[-1])


def test_sampling_gathers_exact_counts_in_order_and_varies(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone())
    first, second = (model.run(images, sample=True) for _ in range(2))
    assert [s.num_kept.tolist() for s in first.selections] == [[45] * 3, [32] * 3, [13] * 3]
    assert (first.patch_index.diff(dim=1) > 0).all()
    assert not torch.equal(first.patch_index, second.patch_index)


def test_sampling_without_noise_gives_the_deterministic_logits(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone())
    torch.testing.assert_close(model.run(images, sample=True, noise_scale=0.0).logits, model(images))


def test_evaluation_is_deterministic_and_independent_of_the_batch(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone())
    with torch.no_grad():
        logits = model(images)
        assert torch.equal(model(images), logits)
        torch.testing.assert_close(model(images[1:2]), logits[1:2])
        torch.testing.assert_close(model.train()(images), logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [-200.0, 200.0])
def test_all_dropped_and_none_dropped_stay_finite(
    make_backbone: Make, images: Tensor, form: TokenForm, package: PackageMode, bias: float
) -> None:
    model = pruned(make_backbone(), PruningSchedule.from_keep_rates([0.01, 0.001], [1, 3]), package=package)
    for selector in model.selectors.values():
        torch.nn.init.zeros_(selector.out.weight)
        selector.out.bias.data = torch.tensor([bias, -bias])
    output = model.run(images, form=form, sample=True)
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        assert torch.isfinite(model(images)).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", OPTIONS)
def test_training_under_autocast_is_finite(
    make_backbone: Make, images: Tensor, form: TokenForm, options: dict[str, Any]
) -> None:
    model = pruned(make_backbone(), **options).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.run(images, form=form, sample=True)
    output.logits.float().square().sum().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_whole_model_runs_in_bfloat16(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone()).bfloat16()
    with torch.no_grad():
        assert model(images.bfloat16()).dtype is torch.bfloat16


@pytest.mark.parametrize("package", PackageMode)
def test_the_model_can_be_exported_for_any_batch(make_backbone: Make, images: Tensor, package: PackageMode) -> None:
    schedule = PruningSchedule.from_keep_rates([0.7, 0.4], [1, 2])
    model = pruned(make_backbone(depth=3), schedule, package=package)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        for size in (1, 5):
            more = torch.randn(size, 3, 32, 32)
            torch.testing.assert_close(exported(more), model(more))


def test_groups_of_parameters_share_nothing_and_leave_nothing(make_backbone: Make) -> None:
    model = pruned(make_backbone())
    groups = (model.backbone_parameters(), model.selector_parameters(), model.leading_parameters())
    backbone, selectors, leading = ({id(p) for p in group} for group in groups)
    assert not backbone & selectors
    assert backbone | selectors == {id(p) for p in model.parameters()}
    names = {name for name, p in model.backbone.named_parameters() if id(p) in leading}
    assert {name.split(".")[1] for name in names if name.startswith("blocks.")} == {"0"}
    assert {n for n in names if not n.startswith("blocks.")} == {
        "cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias",
    }  # fmt: skip


def test_leading_parameters_get_no_gradient_if_they_are_frozen(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone())
    for parameter in model.leading_parameters():
        parameter.requires_grad_(requires_grad=False)
    model.run(images, sample=True).logits.sum().backward()
    trained = [p for p in model.parameters() if p.grad is not None]
    assert len(trained) == len(list(model.parameters())) - len(model.leading_parameters())


def test_the_single_head_selector_spans_the_full_width(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone(), selector=SelectorKind.SINGLE_HEAD)
    assert model.selectors["1"].norm.normalized_shape == (48,)
    assert torch.isfinite(model(images)).all()


def test_head_weighting_is_passed_on(make_backbone: Make) -> None:
    assert pruned(make_backbone(), head_weighting=HeadWeighting.MEAN).selectors["1"].weigh is None


def test_a_stage_behind_the_last_block_is_refused(make_backbone: Make) -> None:
    with pytest.raises(ValueError, match="this one has blocks 0 to 5"):
        PrunedViT(make_backbone(), PruningSchedule.from_keep_rates([0.5], [6]))


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"noise_scale": -1.0}])
def test_bad_sampling_is_refused(make_backbone: Make, images: Tensor, bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a temperature above 0"):
        pruned(make_backbone()).run(images, sample=True, **bad)


def test_the_adaptive_form_is_asked_of_its_own_class(make_backbone: Make, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"needs calibrated thresholds: wrap the model in spvit\.AdaptiveViT"):
        pruned(make_backbone()).run(images, form=TokenForm.ADAPTIVE)
