"""Every family of backbones does what the registry says: examples are built small and run, refusals are met."""

import pytest
import timm
import torch

from spvit.attention import lookahead_attentions
from spvit.errors import UnsupportedModelError
from spvit.exported import load_exported, save_exported
from spvit.factory import create_backbone, geometry_of
from spvit.families import FAMILIES, REFUSED, SUPPORTED, family_of
from spvit.model import PrunedViT, dense_tokens
from spvit.options import HeadWeighting, SelectorKind, TokenForm
from spvit.registry import Family, Pooling
from spvit.schedule import PackageMode, PruningSchedule

TINY = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 7}
PATCHES_OF_FEATURES = {"img_size": 128, "patch_size": 1, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 7}
SCHEDULE = PruningSchedule.from_keep_rates([0.7, 0.4, 0.2], [1, 2, 3])
VITS = [family for family in SUPPORTED if family.name != "PiT"]  # whose levels test_pit.py checks in the same ways
EXAMPLES = [name for family in VITS for name in family.examples]
SELECTORS = [SelectorKind.MULTI_HEAD, SelectorKind.CLASS_ATTENTION]
PLAIN = [name for module in ("vision_transformer", "deit") for name in timm.list_models(module=module)]


def args_of(name):
    return PATCHES_OF_FEATURES if family_of(name).name == "hybrid" else TINY


@pytest.fixture(params=EXAMPLES)
def backbone(request):
    torch.manual_seed(0)
    model = create_backbone(request.param, args=args_of(request.param)).eval()
    with torch.no_grad():  # untrained attention is all but uniform, and rounding decides its order
        for block in model.blocks:
            block.attn.qkv.weight.mul_(5)
        for token in (model.cls_token, model.reg_token):
            if token is not None:
                torch.nn.init.normal_(token)
    return model


@pytest.fixture
def images(backbone):
    return torch.randn(3, 3, *backbone.patch_embed.img_size)


def pruned(backbone, **options):
    model = PrunedViT(backbone, SCHEDULE, **options).eval()
    for parameter in model.selector_parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("kind", SELECTORS)
@pytest.mark.parametrize("package", PackageMode)
def test_masked_equals_gathered(backbone, images, package, kind):
    if kind is SelectorKind.CLASS_ATTENTION and not backbone.has_class_token:
        with pytest.raises(UnsupportedModelError, match=r'"class_attention" needs a class token.*Choose one of "multi'):
            pruned(backbone, package=package, selector=kind)
        return
    model = pruned(backbone, package=package, selector=kind)
    with torch.no_grad():
        logits = model(images)
        masked, gathered = (model.run(images, form=form) for form in (TokenForm.MASKED, TokenForm.GATHERED))
    torch.testing.assert_close(gathered.logits, logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(masked.logits, logits, rtol=0, atol=1e-5)
    assert torch.equal(masked.patch_index[masked.patch_policy.bool()].view(3, -1), gathered.patch_index)


@pytest.mark.parametrize("schedule", [PruningSchedule(), PruningSchedule.from_keep_rates([1.0, 1.0], [1, 2])])
def test_dropping_nothing_is_timms_own_model(backbone, images, schedule):
    model = PrunedViT(backbone, schedule).eval()
    with torch.no_grad():
        expected = backbone(images)
        assert torch.equal(model(images), expected)
        for form in (TokenForm.MASKED, TokenForm.GATHERED):
            output = model.run(images, form=form)
            assert torch.equal(output.logits, expected)
            assert torch.equal(output.patch_tokens, dense_tokens(backbone, images)[1])


def test_an_export_comes_back_as_it_was(tmp_path, request, backbone, images):
    name = request.node.callspec.params["backbone"]
    model = pruned(backbone)
    save_exported(
        tmp_path, model, name=name, args=args_of(name), selector=SelectorKind.MULTI_HEAD,
        head_weighting=HeadWeighting.SENET, package=PackageMode.PER_SELECTOR, extra={},
    )  # fmt: skip
    loaded = load_exported(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    with torch.inference_mode():  # weights that lie elsewhere in memory may be added up in another order
        torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", [TokenForm.MASKED, TokenForm.GATHERED])
def test_the_loss_reaches_every_selector(backbone, images, form):
    model = pruned(backbone).train()
    model.run(images, form=form, sample=True).logits.square().sum().backward()
    for selector in model.selectors.values():
        gradient = torch.cat([parameter.grad.flatten() for parameter in selector.parameters()])
        assert torch.isfinite(gradient).all()
        assert gradient.norm() > 0


def test_there_is_something_to_warm_selectors_up_with(backbone, images):
    num_patches = geometry_of(backbone).num_patches
    found = lookahead_attentions(backbone, images, [1, 2])
    for example in found.values():
        assert example.tokens.shape == (3, num_patches, 48)
        torch.testing.assert_close(example.importance.sum(1), torch.ones(3))
        assert example.importance.std() > 0.01 / num_patches


@pytest.mark.parametrize("name", [name for family in REFUSED for name in family.examples])
def test_refused_families_are_refused_with_their_reason(name):
    assert timm.is_model(name)
    with pytest.raises(UnsupportedModelError) as caught:
        create_backbone(name)
    assert f"{name} {family_of(name).refusal}." in str(caught.value)
    assert "spvit-search backbones" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in PLAIN if not name.startswith("test_")])
def test_every_plain_name_of_timm_is_what_its_family_says(name):
    """One narrow block of each: 175 names."""
    family = family_of(name)
    small = {"embed_dim": 48, "depth": 1, "num_heads": 3, "num_classes": 7, "dynamic_img_size": False}
    if not family.is_supported:
        with pytest.raises(UnsupportedModelError):
            create_backbone(name, args=small)
        return
    model = create_backbone(name, args=small)
    means = {"avg": Pooling.MEAN, "map": Pooling.ATTENTION, "token": Pooling.CLASS}
    expected = Pooling.CLASS_AND_DISTILLATION if "distilled" in name else means[model.global_pool]
    assert family.pooling is expected


def test_names_with_tags_and_unknown_names_are_told_apart():
    assert family_of("deit_small_patch16_224.fb_in1k").name == "DeiT"
    assert family_of("vit_base_patch16_224.augreg_in21k_ft_in1k").name == "ViT"
    assert family_of("resnet18") is None
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refusal": "is odd"}, "refused with a reason or supported"),
        ({"tested_with": ()}, "refused with a reason or supported"),
        ({"examples": ("vit_x",)}, "examples that its pattern matches"),
        ({"examples": ()}, "examples that its pattern matches"),
    ],
)
def test_a_family_that_contradicts_itself_is_refused(changes, message):
    whole = {"name": "x", "pattern": "deit_.*", "examples": ("deit_x",), "pooling": Pooling.CLASS}
    with pytest.raises(ValueError, match=message):
        Family(**whole | changes)
