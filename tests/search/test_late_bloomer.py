"""A real trial that looks hopeless while its backbone is frozen: top-1 as SPViT's published training logs tell it.

DeiT-S, backbone frozen for five epochs. `LATE` prunes hard from the start (DynamicViT, .617/.369/.137): last of all by
2 points for five epochs, fourth at the end. One example, so a regression test and nothing to tune a pruner on.
"""

import pytest
import tabulated

from search.config import ExperimentConfig
from search.pruner import PeerPruner
from search.records import Latency, TrialRecord, TrialState
from search.search_config import PrunerName

FREEZE_EPOCHS, EPOCHS = 5, 30
LATE = (73.988, 74.854, 74.824, 75.028, 75.242, 77.910, 77.984, 77.934, 77.810)
OTHERS = (
    (78.614, 78.634, 78.698, 78.630, 78.642, 78.808, 78.886, 78.858, 78.990),
    (78.764, 78.484, 78.812, 78.794, 78.768, 79.026, 79.004, 79.096, 79.060),
    (76.702, 76.458, 76.442, 76.428, 76.688, 77.260, 77.086, 77.240, 77.114),
    (77.934, 78.170, 78.062, 77.970, 78.206, 77.792, 77.798, 78.180, 77.998),
    (77.950, 78.216, 77.958, 77.926, 78.134, 77.852, 77.694, 78.044, 77.752),
    (78.548, 78.574, 78.516, 78.538, 78.484, 78.390, 78.214, 78.422, 78.324),
    (79.092, 79.010, 79.044, 79.082, 79.076, 78.992, 78.922, 78.938, 78.914),
    (76.268, 77.032, 76.376, 76.712, 76.542, 76.442, 76.664, 76.944, 76.370),
)
SAME = Latency(mean_ms=10.0, low_ms=10.0, high_ms=10.0)


def record(number, curve, state):
    top1 = curve[-1] if state is TrialState.COMPLETE else None
    return TrialRecord(
        number=number,
        state=state,
        params={},
        config={},
        latency=SAME,
        keep_counts=(),
        blocks=(),
        curve=curve,
        top1=top1,
    )


def epochs_survived(tmp_path, rule, **search):
    """How many epochs the late bloomer is given among finished trials that are as fast."""
    values = tabulated.experiment(tmp_path, pruner=rule, **search).model_dump(mode="json")
    values["training"] |= {"freeze_epochs": FREEZE_EPOCHS, "epochs": EPOCHS}
    config = ExperimentConfig.model_validate(values)
    pruner = PeerPruner(config.search, config.training, "published")
    pruner.restore([record(number, curve, TrialState.COMPLETE) for number, curve in enumerate(OTHERS)])
    for epoch in range(1, len(LATE) + 1):
        trial = record(len(OTHERS), LATE[:epoch], TrialState.RUNNING)
        pruner.update(trial)
        if not pruner.judge(trial).goes_on:
            return epoch
    return len(LATE) + 1


@pytest.mark.parametrize("rule", list(PrunerName))
def test_the_default_grace_covers_the_frozen_epochs(tmp_path, rule):
    assert epochs_survived(tmp_path, rule, grace_epochs=None) > FREEZE_EPOCHS + 1


def test_without_that_grace_it_would_have_been_stopped(tmp_path):
    assert epochs_survived(tmp_path, PrunerName.MEDIAN, grace_epochs=1) <= FREEZE_EPOCHS
