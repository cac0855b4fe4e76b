"""Which settings of a trial have an effect, given the others. Pure.

A search need not explore what has none, and two trials that differ in nothing else are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from spvit.options import SelectorKind

Values = Mapping[str, Mapping[str, Any]]
"""The tables of a trial (`pruning`, `losses`, `training`) as plain values."""
Key = tuple[str, str]
"""A table of a trial and a key in it."""


def _selectors_learn(values: Values) -> bool:
    return str(values["pruning"]["selector"]) != SelectorKind.CLASS_ATTENTION


def _ratio_counts(values: Values) -> bool:
    return _selectors_learn(values) and values["losses"]["ratio"] > 0


def _distils(values: Values) -> bool:
    return bool(values["losses"]["distillation"] > 0)


def _mixes(values: Values) -> bool:
    return bool(values["training"]["mixup"] > 0 or values["training"]["cutmix"] > 0)


def _mixes_both(values: Values) -> bool:
    return bool(values["training"]["mixup"] > 0 and values["training"]["cutmix"] > 0)


def _warms_up(values: Values) -> bool:
    return _selectors_learn(values) and values["training"]["selector_warmup_steps"] > 0


CONDITIONS: Mapping[Key, Callable[[Values], bool]] = MappingProxyType(
    {
        **{("losses", key): _selectors_learn for key in ("ratio", "latency")},
        **{
            ("training", key): _selectors_learn
            for key in ("freeze_epochs", "temperature", "temperature_end", "noise_scale", "selector_warmup_steps")
        },
        ("losses", "ratio_per_image"): _ratio_counts,
        ("losses", "ratio_hinge"): _ratio_counts,
        ("losses", "distillation_temperature"): _distils,
        ("training", "selector_warmup_lr"): _warms_up,
        ("training", "mix_probability"): _mixes,
        ("training", "cutmix_share"): _mixes_both,
    }
)
"""When a key has an effect; keys that are not here always have."""


_OF_SELECTORS = (_selectors_learn, _ratio_counts, _warms_up)


def has_effect(key: Key, values: Values) -> bool:
    """Whether a setting changes anything, the others being as they are."""
    condition = CONDITIONS.get(key)
    return condition is None or condition(values)


def without_effect(values: Values, *, has_selectors: bool = True) -> Iterator[Key]:
    """The settings of a trial that change nothing; without selectors there is nothing to teach them."""
    return (
        key
        for key, condition in CONDITIONS.items()
        if not condition(values) or (not has_selectors and condition in _OF_SELECTORS)
    )


def in_asking_order(keys: Iterable[Key]) -> list[Key]:
    """The keys as they come, but those that depend on others of `losses` and `training` behind these."""
    return sorted(keys, key=lambda key: CONDITIONS.get(key, _selectors_learn) is not _selectors_learn)
