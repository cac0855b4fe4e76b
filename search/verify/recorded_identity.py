"""Which recorded trials are one and the same, told from their records alone: no model is built. Pure."""

from __future__ import annotations

from search.records import TrialRecord
from search.trial_identity import trial_identity
from spvit.schedule import PackageMode, Selection, TokenPlan, packages_after


def recorded_identity(trial: TrialRecord) -> str:
    """Equal for two trials of the same network, trained alike; see `trial_identity`."""
    mode = PackageMode(trial.config["pruning"].get("package", PackageMode.PER_SELECTOR))
    selections: list[Selection] = []
    packages = 0
    for block, kept in zip(trial.blocks, trial.keep_counts, strict=True):
        after = packages_after(packages, mode)
        selections.append(
            Selection(
                block=block,
                num_candidates=selections[-1].num_kept if selections else kept,
                num_kept=kept,
                num_packages_before=packages,
                num_packages_after=after,
            )
        )
        packages = after
    # Tokens of each block follow from the selections, as the backbone is the study's own.
    plan = TokenPlan(block_tokens=(), selections=tuple(selections))
    return trial_identity({key: value for key, value in trial.config.items() if key != "latency"}, plan)
