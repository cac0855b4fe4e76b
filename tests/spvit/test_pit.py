from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from spvit.attention import class_attention, lookahead_attentions
from spvit.errors import CheckpointError, UnsupportedModelError
from spvit.exported import load_exported, save_exported
from spvit.factory import create_backbone, geometry_of
from spvit.model import dense_tokens, trailing_dense_tokens
from spvit.options import HeadWeighting, SelectorKind, TokenForm
from spvit.pit import PrunedPiT
from spvit.pit_attention import mean_map
from spvit.pit_levels import pit_blocks, pit_embed
from spvit.pruning import prune
from spvit.schedule import Level, PackageMode, PruningSchedule
from spvit.widths import macs_counter

ARGS: dict[str, Any] = {"img_size": 64, "num_classes": 7, "base_dims": (8, 8, 8)}
NAMES = ["pit_ti_224", "pit_ti_distilled_224"]
FORMS = [TokenForm.GATHERED, TokenForm.MASKED]
# Two selectors in the second level and two in the third, one of them before a level's first block.
SCHEDULE = PruningSchedule.from_keep_rates([0.8, 0.7, 0.5, 0.5, 0.3], [1, 3, 5, 8, 10])
OPTIONS = [{"package": package, "selector": kind} for package in PackageMode for kind in SelectorKind]

Make = Callable[..., PrunedPiT]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 64, 64)


@pytest.fixture
def pruned() -> Make:
    """A small pruned PiT: levels of 49, 16 and 4 patches, random weights, in evaluation mode."""

    def make(schedule: PruningSchedule = SCHEDULE, *, name: str = "pit_ti_224", **options: Any) -> PrunedPiT:
        backbone: Any = create_backbone(name, args=ARGS)
        model = prune(backbone, schedule, **options).eval()
        assert isinstance(model, PrunedPiT)
        for parameter in model.selector_parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return model

    return make


def test_levels_are_those_of_the_model() -> None:
    levels = geometry_of(create_backbone("pit_s_distilled_224")).levels
    assert levels == (
        Level(num_blocks=2, num_patches=27 * 27),
        Level(num_blocks=6, num_patches=14 * 14),
        Level(num_blocks=4, num_patches=7 * 7),
    )


@pytest.mark.parametrize(("name", "options"), [("pit_ti_distilled_224", {}), *(("pit_ti_224", o) for o in OPTIONS)])
def test_masked_equals_gathered(pruned: Make, images: Tensor, name: str, options: dict[str, Any]) -> None:
    model = pruned(name=name, **options)
    with torch.no_grad():
        logits = model(images)
        masked, gathered = (model.run(images, form=form) for form in (TokenForm.MASKED, TokenForm.GATHERED))
    torch.testing.assert_close(gathered.logits, logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(masked.logits, logits, rtol=0, atol=1e-5)
    stayed = masked.patch_policy.bool()
    assert torch.equal(masked.patch_index[stayed].view(3, -1), gathered.patch_index)
    survivors = masked.patch_tokens[stayed].view_as(gathered.patch_tokens)
    torch.testing.assert_close(survivors, gathered.patch_tokens, rtol=0, atol=1e-5)
    for one, other in zip(masked.selections, gathered.selections, strict=True):
        assert torch.equal(one.num_kept, other.num_kept)
        assert one.target_keep_rate == other.target_keep_rate


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schedule", [PruningSchedule(), PruningSchedule.from_keep_rates([1.0, 1.0], [1, 3])])
def test_dropping_nothing_is_timms_own_model(
    pruned: Make, images: Tensor, name: str, schedule: PruningSchedule
) -> None:
    model = pruned(schedule, name=name)
    with torch.no_grad():
        expected = model.backbone(images)
        assert torch.equal(model(images), expected)
        assert torch.equal(dense_tokens(model.backbone, images)[0], expected)
        for form in FORMS:
            output = model.run(images, form=form)
            assert torch.equal(output.logits, expected)
            assert torch.equal(output.patch_tokens, dense_tokens(model.backbone, images)[1])
    assert not model.selector_parameters()


@torch.no_grad()
def naive_logits(model: PrunedPiT, image: Tensor) -> Tensor:
    """One image, one patch after another: each stays a row under its place until its level ends."""
    x, number, prefix = pit_embed(model.backbone, image[None]), 0, model.geometry.num_prefix_tokens
    for level, transformer in enumerate(model.backbone.transformers):
        rows, packages = dict(enumerate(x[0, prefix:])), []
        whole: dict[int, Tensor] = {}
        for block in transformer.blocks:
            places = sorted(rows)
            if str(number) in model.selectors:
                sequence = torch.stack([*x[0, :prefix], *(rows[place] for place in places), *packages])[None]
                scores = model.selector(number).score(sequence, num_prefix=prefix, block=block)
                num_kept = next(s.num_kept for s in model.plan.selections if s.block == number)
                best = sorted(range(len(places)), key=lambda i: -float(scores.margin[0, i]))[:num_kept]
                dropped = [i for i in range(len(places)) if i not in best]
                weights = scores.keep_probability[0, dropped]
                values = torch.stack([rows[places[i]] for i in dropped])
                packages.append((weights[:, None] * values).sum(0) / weights.sum())
                whole |= {places[i]: rows.pop(places[i]) for i in dropped}
                places = sorted(rows)
            x = block(torch.stack([*x[0, :prefix], *(rows[place] for place in places), *packages])[None])
            rows = dict(zip(places, x[0, prefix : prefix + len(places)], strict=True))
            packages = list(x[0, prefix + len(places) :])
            number += 1
        if level + 1 == len(model.backbone.transformers):
            break
        patches = torch.stack([(whole | rows)[place] for place in range(len(whole | rows))])
        side = round(len(patches) ** 0.5)
        pooled, cls = model.backbone.transformers[level + 1].pool(patches.T.view(1, -1, side, side), x[:, :prefix])
        x = torch.cat((cls, pooled.flatten(2).transpose(1, 2)), dim=1)
    return model.backbone.forward_head(model.backbone.norm(x[:, :prefix]))[0]


@pytest.mark.parametrize("name", NAMES)
def test_dropped_patches_come_back_as_they_were_dropped(pruned: Make, images: Tensor, name: str) -> None:
    model = pruned(name=name)
    with torch.no_grad():
        logits = model(images)
    for image, expected in zip(images, logits, strict=True):
        torch.testing.assert_close(naive_logits(model, image), expected, rtol=0, atol=1e-5)


def test_tokens_that_enter_blocks_are_those_of_the_plan(pruned: Make, images: Tensor) -> None:
    model, seen = pruned(), []
    for block in pit_blocks(model.backbone):
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    model(images)
    assert tuple(seen) == model.plan.block_tokens


@pytest.mark.parametrize("kind", [kind for kind in SelectorKind if kind is not SelectorKind.CLASS_ATTENTION])
@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("form", FORMS)
def test_the_loss_reaches_every_selector(
    pruned: Make, images: Tensor, form: TokenForm, package: PackageMode, kind: SelectorKind
) -> None:
    model = pruned(package=package, selector=kind).train()
    model.run(images, form=form, sample=True).logits.square().sum().backward()
    for selector in model.selectors.values():
        gradient = torch.cat([p.grad.flatten() for p in selector.parameters()])
        assert torch.isfinite(gradient).all()
        assert gradient.norm() > 0


def test_masked_decisions_learn_what_it_is_worth_to_let_a_patch_go_on(pruned: Make, images: Tensor) -> None:
    """Without packages and behind the last attention of a level, a decision acts on the grid alone."""
    model = pruned(PruningSchedule.from_keep_rates([0.5], [7]), package=PackageMode.NONE)
    output = model.run(images, form=TokenForm.MASKED, sample=True)
    output.logits.sum().backward()
    assert model.selectors["7"].out.weight.grad.norm() > 0


@pytest.mark.parametrize("form", FORMS)
def test_fractions_are_of_the_levels_own_patches(pruned: Make, images: Tensor, form: TokenForm) -> None:
    selections = pruned().run(images, form=form).selections
    assert [s.target_keep_rate for s in selections] == [39 / 49, 11 / 16, 8 / 16, 2 / 4, 1 / 4]
    assert [s.num_kept.tolist() for s in selections] == [[39] * 3, [11] * 3, [8] * 3, [2] * 3, [1] * 3]


@pytest.mark.parametrize("bias", [-200.0, 200.0])
@pytest.mark.parametrize("form", FORMS)
def test_all_dropped_and_none_dropped_stay_finite(pruned: Make, images: Tensor, form: TokenForm, bias: float) -> None:
    model = pruned()
    for selector in model.selectors.values():
        torch.nn.init.zeros_(selector.out.weight)
        selector.out.bias.data = torch.tensor([bias, -bias])
    output = model.run(images, form=form, sample=True)
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("kind", [SelectorKind.MULTI_HEAD, SelectorKind.CLASS_ATTENTION])
def test_training_under_autocast_is_finite(
    pruned: Make, images: Tensor, form: TokenForm, package: PackageMode, kind: SelectorKind
) -> None:
    model = pruned(package=package, selector=kind).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.run(images, form=form, sample=True)
    output.logits.float().square().sum().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("form", FORMS)
def test_the_whole_model_runs_in_bfloat16(pruned: Make, images: Tensor, form: TokenForm) -> None:
    model = pruned().bfloat16()
    with torch.no_grad():
        assert model.run(images.bfloat16(), form=form).logits.dtype is torch.bfloat16


@pytest.mark.parametrize("package", PackageMode)
def test_the_model_can_be_exported_for_any_batch(images: Tensor, package: PackageMode) -> None:
    """With two selectors within a level and one before another's first block."""
    backbone: Any = create_backbone("pit_ti_224", args=ARGS | {"depth": (1, 2, 1)})
    model = prune(backbone, PruningSchedule.from_keep_rates([0.8, 0.5, 0.3], [1, 2, 3]), package=package).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        for size in (1, 5):
            more = torch.randn(size, 3, 64, 64)
            torch.testing.assert_close(exported(more), model(more))


@pytest.mark.parametrize("block", [0, 1, 2, 5, 8, 11])
def test_leading_part(pruned: Make, images: Tensor, block: int) -> None:
    """Before and behind a pooling: tokens can be given, the teacher goes on from them, and freezing is complete."""
    model = pruned(PruningSchedule.from_keep_rates([0.5], [block]))
    assert model.num_leading_blocks == block
    with torch.no_grad():
        leading = model.leading_tokens(images)
        assert torch.equal(model.run(images, leading_tokens=leading).logits, model(images))
        for one, other in zip(
            trailing_dense_tokens(model.backbone, leading, block), dense_tokens(model.backbone, images), strict=True
        ):
            assert torch.equal(one, other)
    for parameter in model.leading_parameters():
        parameter.requires_grad_(requires_grad=False)
    assert not model.leading_tokens(images).requires_grad
    model.run(images, sample=True).logits.sum().backward()
    trained = [p for p in model.parameters() if p.grad is not None]
    assert len(trained) == len(list(model.parameters())) - len(model.leading_parameters())


def test_a_dense_models_leading_part_is_all_but_the_head(pruned: Make) -> None:
    model = pruned(PruningSchedule())
    leading = {id(p) for p in model.leading_parameters()}
    rest = {name for name, p in model.backbone.named_parameters() if id(p) not in leading}
    assert rest == {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def test_lookahead_covers_the_levels_own_grid(pruned: Make, images: Tensor) -> None:
    model, inputs = pruned(), []
    examples = lookahead_attentions(model.backbone, images, [1, 5, 10])
    for block in pit_blocks(model.backbone):
        block.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.no_grad():
        model.backbone(images)
        for number, num_patches in ((1, 49), (5, 16), (10, 4)):
            assert torch.equal(examples[number].tokens, inputs[number][:, 1:])
            assert examples[number].importance.shape == (3, num_patches)
            torch.testing.assert_close(examples[number].importance.sum(1), torch.ones(3))
        blocks = pit_blocks(model.backbone)
        last = [class_attention(blocks[number], inputs[number])[:, 1:] for number in (10, 11)]
        expected = torch.stack([spread / spread.sum(1, keepdim=True) for spread in last]).mean(0)
    torch.testing.assert_close(examples[10].importance, expected)
    assert lookahead_attentions(model.backbone, images, []) == {}


def test_a_patch_pooled_into_what_matters_matters() -> None:
    coarse = torch.zeros(1, 1, 2, 2)
    coarse[0, 0, 0, 1] = 1.0
    fine = mean_map([coarse], (5, 5)).view(5, 5)
    assert fine.sum() == pytest.approx(1.0)
    assert fine.argmax() == 4
    assert fine[:3, 2:].sum() > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_macs_are_those_of_the_layers_that_ran(pruned: Make, images: Tensor, name: str) -> None:
    """Counted in hooks: all products with weights, to which attention adds two between tokens."""
    model, macs = pruned(PruningSchedule(), name=name), []
    for part in model.backbone.modules():
        if isinstance(part, torch.nn.Linear | torch.nn.Conv2d):
            part.register_forward_hook(
                lambda module, _, output: macs.append(
                    output[0].numel() * module.weight[0].numel()
                    if isinstance(module, torch.nn.Conv2d)
                    else output[0].numel() * module.in_features
                )
            )
    model.backbone(images)
    widths = [block.attn.qkv.in_features for block in pit_blocks(model.backbone)]
    attention = sum(2 * n**2 * width for n, width in zip(model.plan.block_tokens, widths, strict=True))
    count = macs_counter(model.backbone, selector=SelectorKind.LIGHT, weighting=HeadWeighting.MEAN)
    assert count(model.plan) == sum(macs) + attention


def test_macs_of_a_pruned_pit_are_published_sizes() -> None:
    """PiT-S has 2.9 GMACs (Heo et al. 2021, table 5); pruning takes from blocks alone and adds its selectors."""
    backbone: Any = create_backbone("pit_s_224")
    count = macs_counter(backbone, selector=SelectorKind.LIGHT, weighting=HeadWeighting.MEAN)
    geometry = geometry_of(backbone)
    dense = count(PruningSchedule().plan(geometry))
    assert 2.8e9 < dense < 2.95e9
    plan = PruningSchedule.from_keep_rates([0.5], [8]).plan(geometry)
    shorter = [(50, 576), (1 + 24 + 1, 576)]
    old, new = (4 * (12 * n * width**2 + 2 * n**2 * width) for n, width in shorter)
    assert count(plan) == dense - old + new + 49 * 576


def test_checkpoints_of_the_authors_load(tmp_path: Path) -> None:
    source: Any = create_backbone("pit_ti_224", args=ARGS)
    weights = {
        name.replace("transformers.1.pool.", "pools.0.").replace("transformers.2.pool.", "pools.1."): value
        for name, value in source.state_dict().items()
    }
    assert "pools.1.fc.weight" in weights
    save_file(weights, tmp_path / "pit.safetensors")
    loaded: Any = create_backbone("pit_ti_224", args=ARGS, checkpoint=tmp_path / "pit.safetensors")
    for name, value in source.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_a_checkpoint_for_another_image_size_is_refused(tmp_path: Path) -> None:
    source: Any = create_backbone("pit_ti_224", args=ARGS | {"img_size": 80})
    save_file(source.state_dict(), tmp_path / "pit.safetensors")
    with pytest.raises(CheckpointError, match=r"pos_embed was required to have the shape \(1, 16, 7, 7\)"):
        create_backbone("pit_ti_224", args=ARGS, checkpoint=tmp_path / "pit.safetensors")


def test_a_pit_without_classifier_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"set model\.args\.num_classes"):
        create_backbone("pit_ti_224", args=ARGS | {"num_classes": 0})
    with pytest.raises(UnsupportedModelError, match="gives no logits with global_pool=''"):
        create_backbone("pit_ti_224", args=ARGS | {"global_pool": ""})


def test_an_exported_pit_comes_back_as_it_was(pruned: Make, images: Tensor, tmp_path: Path) -> None:
    model = pruned(package=PackageMode.SINGLE)
    save_exported(
        tmp_path,
        model,
        name="pit_ti_224",
        args=ARGS,
        selector=SelectorKind.MULTI_HEAD,
        head_weighting=HeadWeighting.SENET,
        package=PackageMode.SINGLE,
        extra={},
    )
    loaded = load_exported(tmp_path)
    assert isinstance(loaded, PrunedPiT)
    assert loaded.plan == model.plan
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_the_adaptive_form_is_refused(pruned: Make, images: Tensor) -> None:
    with pytest.raises(ValueError, match="gathered or the masked form, but 'adaptive'"):
        pruned().run(images, form=TokenForm.ADAPTIVE)


def test_a_stage_behind_the_last_block_is_refused(pruned: Make) -> None:
    with pytest.raises(ValueError, match="this one has blocks 0 to 11"):
        pruned(PruningSchedule.from_keep_rates([0.5], [12]))
