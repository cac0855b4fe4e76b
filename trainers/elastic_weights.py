"""What an elastic training left behind, as the start of the schedules that go on from it."""

from __future__ import annotations

from pathlib import Path

from trainers.checkpoint import WEIGHTS, latest_checkpoint
from trainers.start_weights import ShareRule, StartWeights


def elastic_weights(directory: Path) -> StartWeights | None:
    """The weights of the newest whole checkpoint in a trial's folder; None where there is none.

    How much of their backbone a schedule starts with goes by what it drops.
    """
    saved = latest_checkpoint(directory, is_owner=False)
    if saved is None:
        return None
    return StartWeights.of(saved.directory / WEIGHTS, backbone_share=ShareRule.BY_DROPPED)
