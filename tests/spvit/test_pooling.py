"""Heads of pruned models against heads worked out by hand, and against timm's own where nothing was dropped."""

import pytest
import torch

from latency_tables.measure import Effort, measure_table
from spvit.adaptive import AdaptiveViT
from spvit.errors import UnsupportedModelError
from spvit.factory import create_backbone
from spvit.maximum import maximum_of_kept
from spvit.model import PrunedViT
from spvit.options import SelectorKind, Serving, TokenForm
from spvit.pooling import Left, logits_of, reads_patches
from spvit.schedule import PackageMode, PruningSchedule
from spvit.thresholds import Thresholds

TINY = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 7}
SCHEDULE = PruningSchedule.from_keep_rates([0.7, 0.3], [1, 3])
POOLS = ["avg", "max", "avgmax", "map"]
PREFIXES = [
    {"class_token": False},
    {"class_token": True},
    {"class_token": False, "reg_tokens": 2},
    {"class_token": True, "pool_include_prefix": True},
]


def make(pool, **args):
    torch.manual_seed(0)
    return create_backbone("vit_tiny_patch16_224", args=TINY | {"global_pool": pool} | args).eval()


def left_tokens(backbone, num_patches=5, num_packages=2):
    num_prefix = backbone.num_prefix_tokens
    return torch.randn(3, num_prefix + num_patches + num_packages, 48), torch.rand(3, num_packages)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("package", PackageMode)
def test_masked_equals_gathered(images, pool, prefix, package):
    model = PrunedViT(make(pool, **prefix), SCHEDULE, package=package).eval()
    for parameter in model.selector_parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        logits = model(images)
        for form in (TokenForm.MASKED, TokenForm.GATHERED):
            torch.testing.assert_close(model.run(images, form=form).logits, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("pool", POOLS)
def test_dropping_nothing_is_timms_own_head(pool, prefix):
    backbone = make(pool, **prefix)
    tokens, _ = left_tokens(backbone, num_packages=0)
    nothing = Left(tokens, tokens.new_zeros(3, 0))
    with torch.no_grad():
        expected = backbone.forward_head(tokens)
        assert torch.equal(logits_of(backbone, nothing), expected)
        for is_sampled in (False, True):
            all_kept = nothing._replace(keep=torch.ones(3, 5))
            torch.testing.assert_close(logits_of(backbone, all_kept, is_sampled=is_sampled), expected)


@pytest.mark.parametrize("pool", POOLS)
def test_dropped_tokens_and_empty_packages_do_not_matter(pool):
    backbone = make(pool, class_token=False)
    tokens, _ = left_tokens(backbone)
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]).expand(3, -1)
    left = Left(tokens, torch.tensor([0.5, 0.0]).expand(3, -1), keep)
    other = tokens.clone()
    other[:, [1, 4, 6]] = 100 * torch.randn(3, 3, 48)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(backbone, left), logits_of(backbone, left._replace(tokens=other)))
        other[:, 2] = torch.randn(3, 48)
        assert not torch.allclose(logits_of(backbone, left), logits_of(backbone, left._replace(tokens=other)))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_mean_weighs_packages_by_their_mass(prefix):
    backbone = make("avg", **prefix)
    tokens, mass = left_tokens(backbone)
    start = 0 if prefix.get("pool_include_prefix") else backbone.num_prefix_tokens
    single = list(tokens[:, start : tokens.shape[1] - 2].unbind(1))
    packages = [mass[:, s, None] * tokens[:, tokens.shape[1] - 2 + s] for s in range(2)]
    mean = sum(single + packages) / (len(single) + mass.sum(1, keepdim=True))
    with torch.no_grad():
        expected = backbone.head(backbone.fc_norm(mean))
        torch.testing.assert_close(logits_of(backbone, Left(tokens, mass)), expected)


def test_a_package_of_what_was_dropped_leaves_the_mean_as_it_was():
    """Tokens folded into a package with weight 1 each weigh there what they weighed by themselves."""
    backbone = make("avg", class_token=False)
    tokens = torch.randn(3, 8, 48)
    package = tokens[:, 5:].mean(1, keepdim=True)
    left = Left(torch.cat((tokens[:, :5], package), 1), torch.full((3, 1), 3.0))
    with torch.no_grad():
        torch.testing.assert_close(logits_of(backbone, left), backbone.forward_head(tokens))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("form", [TokenForm.MASKED, TokenForm.GATHERED])
def test_the_loss_reaches_every_selector(images, pool, form):
    model = PrunedViT(make(pool, class_token=False), SCHEDULE).train()
    model.run(images, form=form, sample=True).logits.square().sum().backward()
    assert all(next(iter(selector.parameters())).grad.norm() > 0 for selector in model.selectors.values())


@pytest.mark.parametrize("name", ["avg", "map", "avgmax", "lvvit_s"])
def test_adaptive_images_are_classified_alike_however_they_are_served(images, name):
    """Padding is no patch that a mean, an attention or a maximum may see."""
    backbone = create_backbone(name, args=TINY).eval() if name == "lvvit_s" else make(name, class_token=False)
    model = PrunedViT(backbone, SCHEDULE).eval()
    for parameter in model.selector_parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        margins = [selection.margin for selection in model.run(images, form=TokenForm.MASKED).selections]
        thresholds = Thresholds(values=(float(margins[0].median()), float(margins[1].quantile(0.7))))
        outputs = [AdaptiveViT(model, thresholds, serving=serving, bucket=1).run(images) for serving in Serving]
    assert len(set(outputs[0].num_kept[:, -1].tolist())) > 1
    for output in outputs[1:]:
        torch.testing.assert_close(output.logits, outputs[0].logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pool", ["avg", "map"])
def test_models_without_a_prefix_are_profiled(pool):
    effort = Effort(num_part_rounds=2, num_model_rounds=2)
    table = measure_table(make(pool, class_token=False), name="vit_tiny_patch16_224", effort=effort)
    assert table.shape.num_prefix_tokens == 0
    assert min(table.blocks) == 1


def test_which_models_read_patches():
    assert not reads_patches(make("token"))
    assert all(reads_patches(make(pool)) for pool in POOLS)
    assert reads_patches(create_backbone("lvvit_s", args=TINY))


def test_class_attention_needs_a_class_token():
    with pytest.raises(UnsupportedModelError, match=r"but this model has none: it pools .*global_pool='avg'"):
        PrunedViT(make("avg", class_token=False), SCHEDULE, selector=SelectorKind.CLASS_ATTENTION)
    PrunedViT(make("avg", class_token=True), SCHEDULE, selector=SelectorKind.CLASS_ATTENTION)


def class_and_patches(kind):
    return create_backbone("lvvit_s", args=TINY) if kind == "lvvit_s" else make(kind, class_token=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("kind", [*POOLS, "lvvit_s"])
def test_images_that_drop_every_patch_train_on_finite_losses(images, kind, package, dtype):
    model = PrunedViT(class_and_patches(kind), SCHEDULE, package=package).train()
    model.selector(1).shift_margin(-60.0)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        output = model.run(images, form=TokenForm.MASKED, sample=True)
        loss = torch.nn.functional.cross_entropy(output.logits.float(), torch.arange(3))
    loss.backward()
    assert not output.patch_policy.any()
    assert output.logits.abs().max() < 100
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_maximum_over_nothing_is_0_and_over_something_is_its_own():
    values, keep = torch.randn(2, 4, 5) - 9, torch.tensor([[0.0, 0, 0, 0], [0, 1, 1, 0]])
    expected = torch.stack((torch.zeros(5), values[1, 1:3].amax(0)))
    assert torch.equal(maximum_of_kept(values, keep), expected)
