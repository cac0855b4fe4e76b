"""LV-ViT against a plain implementation of its forward pass that shares nothing with ours but the names of weights."""

import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from latency_tables.measure import Effort, measure_table
from spvit.errors import CheckpointError, UnsupportedModelError
from spvit.exported import load_exported, save_exported
from spvit.factory import create_backbone, geometry_of
from spvit.macs import count_macs
from spvit.model import PrunedViT, dense_tokens
from spvit.options import HeadWeighting, SelectorKind, TokenForm
from spvit.schedule import PackageMode, PruningSchedule
from spvit.widths import widths_of
from trainers.preprocessing import preprocessing_of

TINY = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 6, "num_heads": 3, "num_classes": 7}
SCHEDULE = PruningSchedule.from_keep_rates([0.7, 0.4, 0.2], [1, 3, 4])


def published(**sizes):
    """A random state dict under the names of TokenLabeling's checkpoints; residuals are not divided in it."""
    weights = create_backbone("lvvit_s", args=TINY | sizes).state_dict()
    del weights["skip_lam"]
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.rand(value.shape, generator=generator) + 0.5
        if name.endswith(("running_var", "norm.weight"))
        else 0.1 * torch.randn(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for name, value in weights.items()
    }


def reference(weights: dict[str, Tensor], images: Tensor, *, depth: int, num_heads: int, skip_lam: float) -> Tensor:
    """LV-ViT in evaluation mode, as its paper describes it."""
    x = images
    for number, (stride, padding) in enumerate([(2, 3), (1, 1), (1, 1)], start=1):
        x = F.conv2d(x, weights[f"patch_embed.conv{number}.weight"], stride=stride, padding=padding)
        scale, shift, mean, var = (
            weights[f"patch_embed.bn{number}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        x = F.relu(F.batch_norm(x, mean, var, scale, shift))
    size = weights["patch_embed.proj.weight"].shape[-1]
    x = F.conv2d(x, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=size)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat((weights["cls_token"].expand(len(x), -1, -1), x), 1) + weights["pos_embed"]
    for block in range(depth):
        x = x + attention(weights, f"blocks.{block}.", x, num_heads) / skip_lam
        x = x + mlp(weights, f"blocks.{block}.", x) / skip_lam
    x = layer_norm(weights, "norm.", x)
    patches = F.linear(x[:, 1:], weights["aux_head.weight"], weights["aux_head.bias"])
    return F.linear(x[:, 0], weights["head.weight"], weights["head.bias"]) + 0.5 * patches.max(1).values


def layer_norm(weights, prefix, x):
    return F.layer_norm(x, x.shape[-1:], weights[prefix + "weight"], weights[prefix + "bias"], eps=1e-5)


def attention(weights, prefix, x, num_heads):
    batch, length, width = x.shape
    x = F.linear(layer_norm(weights, prefix + "norm1.", x), weights[prefix + "attn.qkv.weight"])
    q, k, v = x.view(batch, length, 3, num_heads, width // num_heads).permute(2, 0, 3, 1, 4)
    spread = (q * (width // num_heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
    x = (spread @ v).transpose(1, 2).reshape(batch, length, width)
    return F.linear(x, weights[prefix + "attn.proj.weight"], weights[prefix + "attn.proj.bias"])


def mlp(weights, prefix, x):
    x = layer_norm(weights, prefix + "norm2.", x)
    x = F.gelu(F.linear(x, weights[prefix + "mlp.fc1.weight"], weights[prefix + "mlp.fc1.bias"]))
    return F.linear(x, weights[prefix + "mlp.fc2.weight"], weights[prefix + "mlp.fc2.bias"])


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return create_backbone("lvvit_s", args=TINY).eval()


@pytest.mark.parametrize(
    ("name", "depth", "num_params"),
    [("lvvit_t", 12, 8_534_720), ("lvvit_s", 16, 26_151_824), ("lvvit_m", 20, 55_830_544)],
)
def test_sizes_are_the_published_ones(name, depth, num_params):
    model = timm.create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_params
    assert (geometry_of(model).depth, geometry_of(model).num_patches) == (depth, 196)


@pytest.mark.parametrize("container", [lambda w: w, lambda w: {"state_dict": w}, lambda w: {"model": w, "epoch": 3}])
def test_published_weights_give_the_papers_logits(tmp_path, images, container):
    weights = published()
    torch.save(container(weights), tmp_path / "lvvit.pth.tar")
    model = create_backbone("lvvit_s", args=TINY, checkpoint=tmp_path / "lvvit.pth.tar").eval()
    with torch.no_grad():
        expected = reference(weights, images, depth=6, num_heads=3, skip_lam=2.0)
        torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-5)


def test_our_own_weights_are_not_divided_twice(tmp_path, backbone, images):
    torch.save(backbone.state_dict(), tmp_path / "own.pth")
    again = create_backbone("lvvit_s", args=TINY, checkpoint=tmp_path / "own.pth").eval()
    with torch.no_grad():
        assert torch.equal(again(images), backbone(images))


def test_a_checkpoint_of_another_size_is_refused_and_positions_are_resampled(tmp_path):
    torch.save(published(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="does not belong to this model"):
        create_backbone("lvvit_s", args=TINY | {"depth": 5}, checkpoint=tmp_path / "w.pth")
    larger = create_backbone("lvvit_s", args=TINY | {"img_size": 48}, checkpoint=tmp_path / "w.pth")
    assert larger.pos_embed.shape == (1, 145, 48)


def test_another_number_of_classes_starts_with_fresh_heads(tmp_path):
    torch.save(published(), tmp_path / "w.pth")
    model = create_backbone("lvvit_s", args=TINY | {"num_classes": 3}, checkpoint=tmp_path / "w.pth")
    assert (len(model.head.weight), len(model.aux_head.weight)) == (3, 3)


def test_no_published_weights_are_claimed():
    with pytest.raises(CheckpointError, match=r"publishes none for lvvit_s\. Give the file .* model\.checkpoint"):
        create_backbone("lvvit_s", pretrained=True)


def test_only_token_pooling_is_lv_vits():
    with pytest.raises(UnsupportedModelError, match="class token"):
        create_backbone("lvvit_s", args=TINY | {"global_pool": "avg"})


@pytest.mark.parametrize("package", PackageMode)
def test_a_dropped_patch_cannot_be_the_strongest(backbone, images, package):
    """The patch that shouts loudest in the dense model is silenced in both forms once it is dropped."""
    model = PrunedViT(backbone, SCHEDULE, selector=SelectorKind.CLASS_ATTENTION, package=package).eval()
    with torch.no_grad():
        model.backbone.aux_head.weight.mul_(50)
        masked, gathered = (model.run(images, form=form) for form in (TokenForm.MASKED, TokenForm.GATHERED))
        torch.testing.assert_close(masked.logits, gathered.logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(images), gathered.logits, rtol=0, atol=1e-5)
        everything = model.backbone.aux_head(masked.patch_tokens).amax(1)
        kept = model.backbone.aux_head(gathered.patch_tokens).amax(1)
    assert (everything > kept).any()
    assert torch.all(masked.patch_policy.sum(1) == round(0.2 * 64))


def test_the_teacher_sees_the_dense_logits(backbone, images):
    with torch.no_grad():
        logits, tokens = dense_tokens(backbone, images)
        assert torch.equal(logits, backbone(images))
    assert tokens.shape == (3, 64, 48)


@pytest.mark.parametrize("is_frozen", [True, False])
def test_batch_norm_stands_still_only_while_it_is_frozen(backbone, images, is_frozen):
    model = PrunedViT(backbone, SCHEDULE)
    for parameter in model.leading_parameters():
        parameter.requires_grad_(not is_frozen)
    before = backbone.patch_embed.bn1.running_mean.clone()
    model.train().run(images, sample=True)
    assert torch.equal(before, backbone.patch_embed.bn1.running_mean) == is_frozen
    assert backbone.blocks[0].training


@pytest.mark.parametrize("keep_rates", [(1.0, 1.0), (0.5, 0.25)])
def test_counted_operations_are_those_that_run(backbone, keep_rates):
    schedule = PruningSchedule.from_keep_rates(keep_rates, (2, 4))
    model = PrunedViT(backbone, schedule, selector=SelectorKind.LIGHT, package=PackageMode.NONE).eval()
    widths = widths_of(backbone, selector=SelectorKind.LIGHT, weighting=HeadWeighting.MEAN)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.randn(1, 3, 32, 32))
    assert counter.get_total_flops() / 2 == pytest.approx(count_macs(model.plan, widths, num_patches=64))


def test_lvvit_s_costs_what_its_paper_says():
    backbone = timm.create_model("lvvit_s")
    widths = widths_of(backbone, selector=SelectorKind.MULTI_HEAD, weighting=HeadWeighting.SENET)
    macs = count_macs(PruningSchedule().plan(geometry_of(backbone)), widths, num_patches=196)
    assert round(macs / 1e9, 1) == 6.6


def test_it_is_profiled_and_says_how_it_wants_its_images(backbone):
    table = measure_table(backbone, name="lvvit_s", effort=Effort(num_part_rounds=2, num_model_rounds=2))
    assert table.shape.num_patch_inputs == 64 * 2 * 2
    preprocessing = preprocessing_of(backbone)
    assert (preprocessing.num_channels, preprocessing.crop_pct, preprocessing.size) == (3, 0.9, (32, 32))


def test_an_export_comes_back_as_it_was(tmp_path, backbone, images):
    model = PrunedViT(backbone, SCHEDULE).eval()
    save_exported(
        tmp_path, model, name="lvvit_s", args=TINY, selector=SelectorKind.MULTI_HEAD,
        head_weighting=HeadWeighting.SENET, package=PackageMode.PER_SELECTOR, extra={},
    )  # fmt: skip
    with torch.inference_mode():
        assert torch.equal(load_exported(tmp_path)(images), model(images))
