"""What a worker reports beside metrics: whether it built what the driver proposed, and what it uses. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from search.records import TrialRecord
from trainers.config import TrialConfig
from trainers.effective import differences, expected_facts, facts_sha256

FACTS = "facts"
"""In a report: what was built, once for each worker that builds the trial."""
USAGE = "usage"
"""In a report: what `trainers.process_usage` measured."""
FACTS_SHA256 = "facts_sha256"
"""Beside an epoch's metrics: the hash of what was built, which is what was proposed."""


def beside_metrics(trial: TrialRecord, report: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What listeners are told beside an epoch's metrics, and why the report is of no use, if so.

    Returns:
        Values by name, and a sentence without a full stop; empty where the worker built the right thing.
    """
    values = _told(report, USAGE)
    facts = _told(report, FACTS)
    if not facts:
        return values, ""
    return values | {FACTS_SHA256: facts_sha256(facts)}, _difference(trial, facts)


def as_text(values: Mapping[str, Any]) -> str:
    """Facts or usage as they are reported: Tune would make many keys of a mapping within a report."""
    return json.dumps(values)


def _told(report: Mapping[str, Any], key: str) -> dict[str, Any]:
    text = report.get(key)
    return json.loads(text) if text else {}


def _difference(trial: TrialRecord, built: Mapping[str, Any]) -> str:
    config = TrialConfig.model_validate(trial.config)
    found = differences(expected_facts(config, blocks=trial.blocks, keep_counts=trial.keep_counts), built)
    return f"the worker built something else than was proposed: {'; '.join(found)}" if found else ""
