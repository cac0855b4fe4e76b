"""The pruned model of a backbone, whatever its kind."""

from __future__ import annotations

from typing import Any

from timm.models.pit import PoolingVisionTransformer

from spvit.model import PrunedViT
from spvit.options import HeadWeighting, SelectorKind
from spvit.pit import PrunedPiT
from spvit.pruned_model import PrunedModel
from spvit.schedule import PackageMode, PruningSchedule


def prune(
    backbone: Any,
    schedule: PruningSchedule,
    *,
    selector: SelectorKind = SelectorKind.MULTI_HEAD,
    head_weighting: HeadWeighting = HeadWeighting.SENET,
    package: PackageMode = PackageMode.PER_SELECTOR,
) -> PrunedModel:
    """A backbone with token selectors where the schedule drops tokens.

    Args:
        backbone: a model of `create_backbone`; used as it is, not copied.
        schedule: where tokens are pruned and how many stay.
        selector: how tokens are scored.
        head_weighting: how a multi-head selector averages its heads.
        package: what becomes of dropped tokens.

    Raises:
        ValueError: a stage lies behind the backbone's last block.
    """
    kind = PrunedPiT if isinstance(backbone, PoolingVisionTransformer) else PrunedViT
    return kind(backbone, schedule, selector=selector, head_weighting=head_weighting, package=package)
