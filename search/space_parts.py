"""Parts of what a search explores: its settings, or the rest without some of its parameters. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from search.space_config import SpaceConfig

OF_ONE_SCHEDULE = frozenset({"ratio", "ratio_per_image", "ratio_hinge", "latency"})
"""Terms of a loss that mean the counts of one schedule, so that an elastic training has no use for them."""
OF_ONE_TRAINING = frozenset({"epochs", "warmup_epochs", "form"})
"""What elastic trials have of their own, and schedules trained further too."""


def settings_of(space: SpaceConfig) -> SpaceConfig:
    """What elastic trials explore of it: all but schedules, and what means one of these or one training alone."""
    schedules = {"base_keep_rate": None, "stage_keep_rates": None, "num_selectors": None, "blocks": None}
    return without(space.model_copy(update=schedules), OF_ONE_SCHEDULE | OF_ONE_TRAINING)


def without(space: SpaceConfig, names: AbstractSet[str]) -> SpaceConfig:
    """What is left without keys of `losses`, `training` and `pruning`, and without those that depend on them.

    A parameter whose `when` names one that is not explored has the file's own value.
    """
    present = _names(space) - names
    smaller = space.model_copy(
        update={
            "pruning": {key: choice for key, choice in space.pruning.items() if key in present},
            **{
                section: {
                    key: domain
                    for key, domain in getattr(space, section).items()
                    if key in present and not (domain.when or {}).keys() - present
                }
                for section in ("losses", "training")
            },
        }
    )
    return smaller if _names(smaller) == present else without(smaller, frozenset())


def _names(space: SpaceConfig) -> frozenset[str]:
    number = () if space.num_selectors is None else ("num_selectors",)
    return frozenset({*number, *space.pruning, *space.losses, *space.training})
