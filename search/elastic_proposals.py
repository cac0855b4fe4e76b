"""Draws the settings of elastic trials, which are few: Optuna's TPE on one value, the mean accuracy of a front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from search.records import TrialRecord, TrialState
from search.sampler import draw_seed
from search.space import SearchSpace
from trainers.config import TrialConfig

NUM_DRAWS = 64
ENDED = frozenset({TrialState.COMPLETE, TrialState.PRUNED})


def next_settings(
    space: SearchSpace, trials: Iterable[TrialRecord], *, seed: int, turn: int
) -> tuple[Mapping[str, Any], TrialConfig] | None:
    """Settings that no elastic trial had, with what they mean; None where none are left.

    The first are the file's own. A function of its arguments alone, so that a resumed search goes on as it was.

    Args:
        space: of the settings.
        trials: the elastic ones so far, in whatever state.
        seed: of the study.
        turn: how many there were, attempts to repeat one not counted.
    """
    known = list(trials)
    tried = {space.identity(space.trial_config(trial.params)) for trial in known}
    for draw in range(NUM_DRAWS):
        study = _shadow(space, known, seed=draw_seed(seed, turn, draw))
        if draw == 0:
            study.enqueue_trial(space.completed({}))
        trial = study.ask()
        config = space.suggest(trial)
        if space.identity(config) not in tried:
            return dict(trial.params), config
    return None


def _shadow(space: SearchSpace, trials: Sequence[TrialRecord], *, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(n_startup_trials=4, seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.NopPruner())
    for record in trials:
        if record.state in ENDED and record.curve:
            study.add_trial(_ended(space, record))
    return study


def _ended(space: SearchSpace, record: TrialRecord) -> optuna.trial.FrozenTrial:
    """A pruned trial counts as what its front was worth when it was stopped."""
    return create_trial(
        state=OptunaState.COMPLETE,
        value=record.curve[-1],
        params=dict(record.params),
        distributions=space.distributions(record.params),
    )
