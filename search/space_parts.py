"""Parts of what a search explores: the rest without some of its parameters. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from search.space_config import SpaceConfig


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
