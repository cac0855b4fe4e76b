"""Plans of the masked and the adaptive form against the tokens that blocks really get."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spvit.adaptive import AdaptiveViT
from spvit.form_plans import image_plan, masked_plan
from spvit.model import PrunedViT
from spvit.options import TokenForm
from spvit.schedule import Level, PackageMode, PruningSchedule, TokenGeometry
from spvit.thresholds import Thresholds

Make = Callable[..., Any]
SCHEDULE = PruningSchedule.from_keep_rates([0.7, 0.5, 0.2], [1, 3, 4])


def watch(model: PrunedViT) -> list[int]:
    seen: list[int] = []
    for block in model.backbone.blocks:
        block.norm1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    return seen


@pytest.mark.parametrize("package", PackageMode)
def test_the_masked_form_keeps_all_tokens(make_backbone: Make, images: Tensor, package: PackageMode) -> None:
    model = PrunedViT(make_backbone(), SCHEDULE, package=package).eval()
    seen = watch(model)
    with torch.no_grad():
        model.run(images, form=TokenForm.MASKED)
    plan = masked_plan(model.plan, model.geometry)
    assert tuple(seen) == plan.block_tokens
    assert [selection.num_candidates for selection in plan.selections] == [64] * 3


@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("thresholds", [(2.0, 2.1, 2.2), (-99.0, 2.1, 99.0), (99.0, -99.0, -99.0), (-99.0,) * 3])
def test_an_images_plan_is_what_its_blocks_get(
    make_backbone: Make, images: Tensor, package: PackageMode, thresholds: tuple[float, ...]
) -> None:
    model = PrunedViT(make_backbone(), SCHEDULE, package=package).eval()
    adaptive, seen = AdaptiveViT(model, Thresholds(values=thresholds)), watch(model)
    for image in images:
        seen.clear()
        with torch.no_grad():
            kept = adaptive.run(image[None]).num_kept[0].tolist()
        assert tuple(seen) == image_plan(model.plan, kept, geometry=model.geometry, package=package).block_tokens


def test_an_image_that_keeps_what_the_schedule_says_has_the_models_own_plan(make_backbone: Make) -> None:
    model = PrunedViT(make_backbone(), SCHEDULE)
    kept = [selection.num_kept for selection in model.plan.selections]
    assert image_plan(model.plan, kept, geometry=model.geometry, package=PackageMode.PER_SELECTOR) == model.plan


def test_masked_tokens_end_with_their_level() -> None:
    levels = [Level(num_blocks=2, num_patches=16), Level(num_blocks=2, num_patches=4)]
    geometry = TokenGeometry.of_levels(levels)
    plan = PruningSchedule.from_keep_rates([0.5], [1]).plan(geometry)
    assert plan.block_tokens == (17, 10, 5, 5)
    assert masked_plan(plan, geometry).block_tokens == (17, 18, 5, 5)
