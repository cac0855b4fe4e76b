"""The counts that adaptive batches are priced at are those that the model computes with."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from spvit.adaptive import AdaptiveViT
from spvit.adaptive_plans import kept_counts, padded_plans
from spvit.bucketed_work import bucketed_work
from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import Serving
from spvit.schedule import PackageMode, PruningSchedule
from spvit.thresholds import Thresholds

BATCH = 6


@pytest.fixture(scope="module", params=list(PackageMode))
def model(request: pytest.FixtureRequest) -> PrunedViT:
    torch.manual_seed(1)
    args = {"img_size": 28, "patch_size": 4, "embed_dim": 24, "depth": 5, "num_heads": 3, "num_classes": 4}
    schedule = PruningSchedule.from_keep_rates([0.7, 0.5, 0.3], [1, 2, 4])
    return PrunedViT(create_backbone("vit_tiny_patch16_224", args=args), schedule, package=request.param).eval()


@pytest.fixture(params=[(0.0, 0.0, 0.0), (-9.0, 0.1, 0.2), (-9.0, -9.0, -9.0), (9.0, 0.0, 0.0), (0.2, -9.0, 0.1)])
def thresholds(request: pytest.FixtureRequest) -> Thresholds:
    return Thresholds(values=request.param)


def recorded(model: PrunedViT, adaptive: AdaptiveViT, images: torch.Tensor) -> tuple[np.ndarray, list[tuple]]:
    """What images kept, and (block, images, tokens) of everything that came to a block's first norm."""
    seen: list[tuple] = []
    hooks = [
        block.norm1.register_forward_hook(lambda _m, x, _y, n=number: seen.append((n, *x[0].shape[:2])))
        for number, block in enumerate(model.backbone.blocks)
    ]
    with torch.inference_mode():
        num_kept = adaptive.run(images).num_kept.numpy()
    for hook in hooks:
        hook.remove()
    return num_kept, sorted(seen)


def random_images() -> torch.Tensor:
    return torch.randn(BATCH, 3, 28, 28, generator=torch.Generator().manual_seed(3))


def test_padded_counts_are_those_of_the_model(model: PrunedViT, thresholds: Thresholds) -> None:
    num_kept, seen = recorded(model, AdaptiveViT(model, thresholds), random_images())
    plans = padded_plans(_kept(model, num_kept), BATCH)
    assert [(number, BATCH, tokens) for number, tokens in enumerate(plans.block_tokens[0])] == seen
    reached = [tokens for number, _, tokens in seen if number in (0, 1, 3)]  # the blocks before the selectors
    assert plans.selection_tokens[0].tolist() == reached
    assert plans.selection_blocks[0].tolist() == [1, 2, 4]


@pytest.mark.parametrize("bucket", [1, 4, 49])
def test_buckets_are_those_of_the_model(model: PrunedViT, thresholds: Thresholds, bucket: int) -> None:
    adaptive = AdaptiveViT(model, thresholds, serving=Serving.BUCKETED, bucket=bucket)
    num_kept, seen = recorded(model, adaptive, random_images())
    assert sorted(_passes(bucketed_work(_kept(model, num_kept), BATCH, bucket), depth=5)) == seen


def _kept(model: PrunedViT, num_kept: np.ndarray) -> Any:
    return kept_counts(model.plan, num_kept, geometry=model.geometry, package=model.layout.package_mode)


def _passes(work: Any, depth: int) -> Iterator[tuple]:
    """(block, images, tokens) of work whose groups follow each other from selector to selector."""
    starts = {1: range(1), 2: range(1, 2), 3: range(2, 4), 4: range(4, depth)}
    stage, was_selection = 1, False
    for step in work:
        if step.num_blocks and was_selection:
            stage += 1
        was_selection = not step.num_blocks
        for number in starts[stage] if step.num_blocks else ():
            yield number, step.num_images, step.num_tokens
        assert step.is_last == (bool(step.num_blocks) and stage == 4)
        assert step.num_blocks in (0, len(starts[stage]))
