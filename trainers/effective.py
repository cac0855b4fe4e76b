"""What a trial really consists of, told by the objects that were built, to be compared with what was asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainers.config import TrialConfig
from trainers.loss_config import LossWeights
from trainers.training_config import TrainingConfig

if TYPE_CHECKING:
    from spvit.pruned_model import PrunedModel

Facts = dict[str, Any]
PLACES = {"training.device", "training.num_threads"}
"""A worker may choose these; they decide nothing."""


def built_facts(model: PrunedModel, losses: LossWeights, training: TrainingConfig) -> Facts:
    """The facts of a trial as built: the model's own plan and selectors, and what loss and loop really hold."""
    return _facts(
        blocks=sorted(int(block) for block in model.selectors),
        keep_counts=[selection.num_kept for selection in model.plan.selections],
        losses=losses,
        training=training,
    )


def expected_facts(config: TrialConfig, *, blocks: Sequence[int], keep_counts: Sequence[int]) -> Facts:
    """The same facts of a trial as it was proposed and priced."""
    return _facts(
        blocks=list(blocks),
        keep_counts=list(keep_counts),
        losses=config.losses,
        training=config.training,
    )


def facts_sha256(facts: Mapping[str, Any]) -> str:
    """A hash of facts; equal facts have equal hashes."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def differences(expected: Mapping[str, Any], built: Mapping[str, Any]) -> list[str]:
    """What differs, as sentences without a full stop."""
    return [
        f"{key} is {built.get(key)!r}, not {expected.get(key)!r}"
        for key in sorted({*expected, *built})
        if expected.get(key) != built.get(key)
    ]


def _facts(*, blocks: list[int], keep_counts: list[int], losses: LossWeights, training: TrainingConfig) -> Facts:
    values: Facts = {"blocks": blocks, "keep_counts": keep_counts}
    for section, config in (("losses", losses), ("training", training)):
        values |= {f"{section}.{key}": value for key, value in config.model_dump(mode="json").items()}
    return {key: value for key, value in values.items() if key not in PLACES}
