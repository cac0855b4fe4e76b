"""The adaptive form against every image run alone, and against a plain masked computation of one image at a time."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from spvit.adaptive import AdaptiveViT, stage_margins
from spvit.model import PrunedViT
from spvit.options import SelectorKind, Serving
from spvit.schedule import PackageMode, PruningSchedule
from spvit.thresholds import Thresholds

Make = Callable[..., Any]
SCHEDULE = PruningSchedule.from_keep_rates([0.7, 0.5, 0.2], [1, 3, 4])
BACKBONES = [
    ("deit_tiny_patch16_224", {}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("vit_tiny_patch16_224", {"reg_tokens": 3, "qk_norm": True}),
    ("deit3_small_patch16_224", {}),
    ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    ("vit_tiny_patch16_224", {"global_pool": "map"}),
]
OPTIONS = [{"package": package, "selector": kind} for package in PackageMode for kind in SelectorKind]
EVERYTHING, NOTHING = -1e9, 1e9
TINY = torch.finfo(torch.float32).tiny


def pruned(backbone: Any, **options: Any) -> PrunedViT:
    model = PrunedViT(backbone, SCHEDULE, **options).eval()
    with torch.no_grad():
        for parameter in model.selector_parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        for block in backbone.blocks:  # untrained attention is all but uniform
            block.attn.qkv.weight.mul_(5)
    return model


def spread_thresholds(model: PrunedViT, images: Tensor, shares: tuple[float, ...] = (0.6, 0.5, 0.4)) -> Thresholds:
    """Thresholds that about this share of the margins at each selector reaches: images differ in what they keep.

    In the widest gap thereabouts, so that rounding decides nothing.
    """
    values: list[float] = []
    with torch.no_grad():
        for share in shares:
            margins = stage_margins(model, images, values)
            rising = margins[margins > -torch.inf].sort().values
            near = rising[int((0.9 - share) * len(rising)) : int((1.1 - share) * len(rising))]
            gap = int(near.diff().argmax())
            values.append(float(near[gap : gap + 2].mean()))
    return Thresholds(values=tuple(values))


def masked_alone(model: PrunedViT, image: Tensor, thresholds: Thresholds) -> tuple[Tensor, list[int]]:
    """One image with all its tokens, dropped ones hidden by minus infinity in attention; packages by the formula."""
    prefix, num_patches = model.layout.num_prefix, model.layout.num_patches
    x, keep = model.leading_tokens(image[None]), torch.ones(num_patches)
    packages: list[tuple[Tensor, float]] = []
    counts: list[int] = []
    stages = {selection.block: stage for stage, selection in enumerate(model.plan.selections)}
    for number, block in list(enumerate(model.backbone.blocks))[model.num_leading_blocks :]:
        if number in stages:
            policy = torch.cat((keep, torch.tensor([float(mass > 0) for _, mass in packages])))[None]
            scores = model.selector(number).score(x, num_prefix=prefix, block=block, policy=policy)
            margin, prob = scores.margin[0, :num_patches], scores.keep_probability[0, :num_patches]
            still = keep * (margin >= thresholds.values[stages[number]])
            still[margin.where(keep > 0, torch.tensor(-torch.inf)).argmax()] = 1.0
            weights = prob.clamp_min(TINY) * (keep - still)
            new, mass = (weights[:, None] * x[0, prefix : prefix + num_patches]).sum(0), float(weights.sum())
            new = new / max(mass, TINY)
            packages = [(x[0, prefix + num_patches + i], mass) for i, (_, mass) in enumerate(packages)]
            if model.layout.package_mode is PackageMode.PER_SELECTOR:
                packages.append((new, mass))
            elif model.layout.package_mode is PackageMode.SINGLE:
                old, old_mass = packages[0] if packages else (torch.zeros_like(new), 0.0)
                packages = [(old + (new - old) * mass / max(mass + old_mass, TINY), old_mass + mass)]
            keep = still
            counts.append(int(keep.sum()))
            x = torch.cat((x[:, : prefix + num_patches], *[token[None, None] for token, _ in packages]), dim=1)
        seen = torch.cat((torch.ones(prefix), keep, torch.tensor([float(mass > 0) for _, mass in packages])))
        x = block(x, attn_mask=torch.where(seen > 0, 0.0, -torch.inf)[None, None, None])
    masses = torch.tensor([[mass for _, mass in packages]])
    return model._classify(model.backbone.norm(x), mass=masses, keep=keep[None])[0], counts


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("name", "args"), BACKBONES)
def test_served_either_way_it_equals_a_masked_computation_of_each_image(
    make_backbone: Make, name: str, args: dict[str, Any], options: dict[str, Any]
) -> None:
    images = torch.randn(4, 3, 32, 32) * torch.tensor([0.3, 1.0, 2.0, 4.0])[:, None, None, None]
    with torch.no_grad():
        model = pruned(make_backbone(name, **args), **options)
        thresholds = spread_thresholds(model, images)
        expected = [masked_alone(model, image, thresholds) for image in images]
        for options_of_serving in ({"serving": Serving.PADDED}, {"serving": Serving.BUCKETED, "bucket": 8}):
            found = AdaptiveViT(model, thresholds, **options_of_serving).run(images)  # type: ignore[arg-type]
            assert found.num_kept.tolist() == [counts for _, counts in expected]
            logits = torch.stack([logits for logits, _ in expected])
            torch.testing.assert_close(found.logits, logits, rtol=0, atol=1e-5)
    assert len({tuple(counts) for _, counts in expected}) > 1


@pytest.mark.parametrize("serving", Serving)
@pytest.mark.parametrize("bucket", [1, 5, 64])
def test_an_image_does_not_depend_on_those_beside_it(make_backbone: Make, serving: Serving, bucket: int) -> None:
    images = torch.randn(9, 3, 32, 32)
    with torch.no_grad():
        model = pruned(make_backbone())
        together = AdaptiveViT(model, spread_thresholds(model, images), serving=serving, bucket=bucket)
        logits = together(images)
        alone = torch.cat([together(image[None]) for image in images])
        assert torch.equal(together(images), logits)
    torch.testing.assert_close(logits, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("serving", Serving)
def test_dropping_nothing_is_timms_own_model(
    make_backbone: Make, images: Tensor, serving: Serving, package: PackageMode
) -> None:
    model = pruned(make_backbone(), package=package)
    with torch.no_grad():
        found = AdaptiveViT(model, Thresholds(values=(EVERYTHING,) * 3), serving=serving).run(images)
        torch.testing.assert_close(found.logits, model.backbone(images), rtol=0, atol=1e-6)
    assert found.num_kept.tolist() == [[64] * 3] * 3


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("serving", Serving)
def test_one_token_stays_whatever_the_threshold(
    make_backbone: Make, images: Tensor, serving: Serving, options: dict[str, Any]
) -> None:
    model = pruned(make_backbone(), **options)
    with torch.no_grad():
        found = AdaptiveViT(model, Thresholds(values=(NOTHING, EVERYTHING, NOTHING)), serving=serving).run(images)
        only_one = PrunedViT(model.backbone, PruningSchedule.from_keep_rates([0.001], [1]), **options).eval()
        only_one.selectors["1"].load_state_dict(model.selectors["1"].state_dict())
        torch.testing.assert_close(found.logits, only_one(images), rtol=0, atol=1e-5)
    assert found.num_kept.tolist() == [[1] * 3] * 3


def test_tokens_that_are_dropped_are_really_gone(make_backbone: Make, images: Tensor) -> None:
    model, seen = pruned(make_backbone()), []
    with torch.no_grad():
        adaptive = AdaptiveViT(model, spread_thresholds(model, images))
        for block in model.backbone.blocks:
            block.norm1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
        most = adaptive.run(images).num_kept.amax(0).tolist()
    assert seen == [65, *[1 + most[0] + 1] * 2, 1 + most[1] + 2, *[1 + most[2] + 3] * 2]


def test_images_of_equal_counts_share_a_bucket_at_every_selector(make_backbone: Make) -> None:
    model, calls = pruned(make_backbone()), []
    many = torch.randn(24, 3, 32, 32)
    with torch.no_grad():
        adaptive = AdaptiveViT(model, spread_thresholds(model, many), serving=Serving.BUCKETED, bucket=1)
        model.backbone.blocks[4].register_forward_pre_hook(
            lambda module, args, kwargs: calls.append((len(args[0]), kwargs["attn_mask"])), with_kwargs=True
        )
        last = adaptive.run(many).num_kept[:, -1].tolist()
    assert sorted(size for size, _ in calls) == sorted(Counter(last).values())
    assert all(mask is None for _, mask in calls)  # equal counts need no padding


def test_weights_are_shared_not_copied(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone())
    adaptive = AdaptiveViT(model, Thresholds(values=(EVERYTHING,) * 3))
    assert {id(p) for p in adaptive.parameters()} == {id(p) for p in model.parameters()}


def test_a_dense_schedule_needs_no_thresholds(make_backbone: Make, images: Tensor) -> None:
    model = PrunedViT(make_backbone(), PruningSchedule()).eval()
    found = AdaptiveViT(model, Thresholds(values=())).run(images)
    assert torch.equal(found.logits, model(images))
    assert found.num_kept.shape == (3, 0)


@pytest.mark.parametrize("package", PackageMode)
def test_one_token_left_equals_the_gathered_form_where_keep_probabilities_underflow(
    make_backbone: Make, images: Tensor, package: PackageMode
) -> None:
    model = PrunedViT(make_backbone(), PruningSchedule.from_keep_rates([0.001], [1]), package=package).eval()
    model.selector(1).shift_margin(-130.0)  # type: ignore[operator]
    with torch.no_grad():
        found = AdaptiveViT(model, Thresholds(values=(NOTHING,)))(images)
        torch.testing.assert_close(found, model(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", [True, False])
def test_it_is_in_the_mode_of_its_model(make_backbone: Make, mode: bool) -> None:
    model = pruned(make_backbone()).train(mode)
    assert AdaptiveViT(model, Thresholds(values=(0.0, 0.0, 0.0))).training is mode


@pytest.mark.parametrize("options", OPTIONS)
def test_autocast_is_finite(make_backbone: Make, images: Tensor, options: dict[str, Any]) -> None:
    model = pruned(make_backbone(), **options)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert AdaptiveViT(model, Thresholds(values=(0.0, 0.0, 0.0)))(images).isfinite().all()


def test_bfloat16_is_finite(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone()).bfloat16()
    with torch.no_grad():
        assert AdaptiveViT(model, Thresholds(values=(0.0, 0.0, 0.0)))(images.bfloat16()).isfinite().all()


@pytest.mark.parametrize(
    ("values", "bucket", "text"),
    [((0.0,), 8, r"3 selections need as many thresholds, but got \(0.0,\)"), ((0.0,) * 3, 0, "A bucket must span 1")],
)
def test_what_does_not_fit_is_refused(make_backbone: Make, values: tuple[float, ...], bucket: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        AdaptiveViT(pruned(make_backbone()), Thresholds(values=values), bucket=bucket)


def test_nothing_is_random(make_backbone: Make, images: Tensor) -> None:
    model = pruned(make_backbone()).train()
    adaptive = AdaptiveViT(model, Thresholds(values=(0.0, 0.0, 0.0)))
    with torch.no_grad():
        first = adaptive(images)
        functional.dropout(images)  # moves the generator
        assert torch.equal(adaptive(images), first)
