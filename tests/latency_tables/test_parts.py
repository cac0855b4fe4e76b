from typing import Any

import pytest
import torch

from latency_tables.key import DType, LevelShape, SelectorOptions
from latency_tables.parts import Parts, shape_of
from spvit.factory import create_backbone
from spvit.options import SelectorKind
from spvit.places import narrow, put_back
from spvit.pruning import prune
from spvit.schedule import PackageMode, PruningSchedule

ARGS: dict[str, Any] = {"img_size": 64, "num_classes": 7, "base_dims": (8, 8, 8)}


@pytest.fixture(params=["pit_ti_224", "pit_ti_distilled_224"])
def pit(request: pytest.FixtureRequest) -> Any:
    return create_backbone(request.param, args=ARGS)


def parts_of(backbone: Any, package: PackageMode = PackageMode.PER_SELECTOR) -> Parts:
    options = SelectorOptions(package=package)
    return Parts(backbone, batch_size=2, dtype=DType.FLOAT32, device="cpu", selector=options)


def test_a_pits_shape_has_a_width_for_each_level() -> None:
    shape = shape_of(create_backbone("pit_s_224"))
    assert shape.levels == (
        LevelShape(num_blocks=2, num_patches=729, embed_dim=144, num_heads=3),
        LevelShape(num_blocks=6, num_patches=196, embed_dim=288, num_heads=6),
        LevelShape(num_blocks=4, num_patches=49, embed_dim=576, num_heads=12),
    )
    assert (shape.depth, shape.num_patches, shape.embed_dim, shape.mlp_ratio) == (12, 729, 144, 4.0)
    assert shape.num_patch_inputs == 3 * 16 * 16


def test_a_plain_shape_has_no_levels() -> None:
    assert shape_of(create_backbone("vit_tiny_patch16_224", args={"depth": 2})).levels == ()


def test_the_parts_of_a_dense_pit_make_up_the_model(pit: Any) -> None:
    """Run one after the other on what the part before gave, they are the model."""
    parts = parts_of(pit)
    cut, images = parts._cut, parts._images
    with torch.inference_mode():
        *_, last = cut.tokens_of_levels(images)
        for block in cut.blocks_of(2):
            last = block(last)
        logits = cut.backbone.forward_head(cut.backbone.norm(last))
        torch.testing.assert_close(logits, parts.dense()())


@pytest.mark.parametrize(("level", "width", "num_patches"), [(0, 16, 49), (1, 32, 16), (2, 64, 4)])
def test_blocks_are_those_of_their_level(pit: Any, level: int, width: int, num_patches: int) -> None:
    parts, num_blocks = parts_of(pit), [2, 6, 4][level]
    work = parts.block(3, level)
    with torch.inference_mode():
        first, second, *_, again = [work() for _ in range(num_blocks + 1)]
        assert parts._tokens[level].shape == (2, pit.num_tokens + num_patches, width)
    assert first.shape == (2, 3, width)  # type: ignore[attr-defined]
    assert torch.equal(again, first) != (num_blocks == 2 and torch.equal(second, first))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", SelectorKind)
@pytest.mark.parametrize("package", PackageMode)
def test_a_selection_is_what_the_model_does_at_its_levels_first_block(
    pit: Any, package: PackageMode, kind: SelectorKind
) -> None:
    """In levels that a pooling follows it puts the survivors back as well."""
    parts = parts_of(pit, package)
    num_prefix = pit.num_tokens
    with torch.inference_mode():
        step, whole = parts.selections([num_prefix + 16], kind, level=1)[num_prefix + 16]()()  # type: ignore[misc]
        patches = parts._tokens[1][:, num_prefix:]
        expected = put_back(narrow(None, patches, step.kept), step.tokens[:, num_prefix : num_prefix + 11])
    assert step.tokens.shape == (2, num_prefix + 11 + (package is not PackageMode.NONE), 32)
    torch.testing.assert_close(whole, expected)
    torch.testing.assert_close(whole, patches)  # nothing has changed them in between


def test_the_last_levels_selection_puts_nothing_back(pit: Any) -> None:
    count = pit.num_tokens + 4
    with torch.inference_mode():
        step: Any = parts_of(pit).selections([count], SelectorKind.MULTI_HEAD, level=2)[count]()()
    assert step.tokens.shape == (2, pit.num_tokens + 3 + 1, 64)


def test_poolings_lead_to_every_further_level(pit: Any) -> None:
    parts = parts_of(pit)
    pooling = parts.pooling()
    assert pooling is not None
    with torch.inference_mode():
        pooled: Any = pooling()
    assert [tokens.shape for tokens in pooled] == [tokens.shape for tokens in parts._tokens[1:]]


def test_a_pits_last_block_computes_all_of_its_tokens(pit: Any) -> None:
    assert parts_of(pit).last_block(3) is None


def test_complete_pits_are_those_of_prune(pit: Any) -> None:
    parts = parts_of(pit)
    schedule = PruningSchedule.from_keep_rates([0.7, 0.5], [1, 3])
    torch.manual_seed(3)
    work = parts.pruned(schedule)
    torch.manual_seed(3)
    model = prune(parts._backbone, schedule).eval()
    with torch.inference_mode():
        torch.testing.assert_close(work(), model(parts._images))
