"""What the masked and the adaptive form do in integers, so that they can be counted like a schedule. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spvit.schedule import PackageMode, Selection, TokenGeometry, TokenPlan, packages_after


def masked_plan(plan: TokenPlan, geometry: TokenGeometry) -> TokenPlan:
    """The token counts of a plan in the masked form: nothing is removed, and packages are added."""
    tokens, selections = list(plan.block_tokens), []
    for selection in plan.selections:
        number = geometry.level_of(selection.block)
        num_patches = geometry.levels[number].num_patches
        end = geometry.level_starts[number] + geometry.levels[number].num_blocks
        all_tokens = geometry.num_prefix_tokens + num_patches + selection.num_packages_after
        tokens[selection.block : end] = [all_tokens] * (end - selection.block)
        selections.append(replace(selection, num_candidates=num_patches, num_kept=num_patches))
    return TokenPlan(block_tokens=tuple(tokens), selections=tuple(selections))


def image_plan(plan: TokenPlan, num_kept: Sequence[int], *, geometry: TokenGeometry, package: PackageMode) -> TokenPlan:
    """The token counts of one image in the adaptive form; a selector at which it drops nothing adds no package.

    Args:
        plan: of the model, which has one level.
        num_kept: patches that the image kept at each selection.
        geometry: of the backbone.
        package: what becomes of dropped tokens.
    """
    tokens, selections = list(plan.block_tokens), []
    patches, packages = geometry.num_patches, 0
    for selection, kept in zip(plan.selections, num_kept, strict=True):
        after = packages if kept == patches else packages_after(packages, package)
        selections.append(
            Selection(
                block=selection.block,
                num_candidates=patches,
                num_kept=kept,
                num_packages_before=packages,
                num_packages_after=after,
            )
        )
        tokens[selection.block :] = [geometry.num_prefix_tokens + kept + after] * (geometry.depth - selection.block)
        patches, packages = kept, after
    return TokenPlan(block_tokens=tuple(tokens), selections=tuple(selections))
