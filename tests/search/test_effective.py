import pytest

from search.effective import FACTS, FACTS_SHA256, USAGE, as_text, beside_metrics
from search.records import Latency, TrialRecord, TrialState
from trainers.config import TrialConfig
from trainers.effective import expected_facts, facts_sha256

CONFIG = TrialConfig.model_validate({"model": {"name": "m"}, "data": {"path": "p"}})
TRIAL = TrialRecord(
    number=3, state=TrialState.RUNNING, params={}, config=CONFIG.to_dict(), keep_counts=(30, 20), blocks=(2, 4),
    latency=Latency(mean_ms=1.0, low_ms=1.0, high_ms=1.0),
)  # fmt: skip


def built(**changes):
    return expected_facts(CONFIG, blocks=TRIAL.blocks, keep_counts=TRIAL.keep_counts) | changes


def test_what_was_proposed_passes_with_its_hash_and_what_it_used():
    values, reason = beside_metrics(TRIAL, {FACTS: as_text(built()), USAGE: as_text({"system/x_megabytes": 5.0})})
    assert reason == ""
    assert values == {"system/x_megabytes": 5.0, FACTS_SHA256: facts_sha256(built())}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"keep_counts": [30, 21]}, r"keep_counts is \[30, 21\], not \[30, 20\]"),
        ({"blocks": [2]}, r"blocks is \[2\], not \[2, 4\]"),
        ({"losses.ratio": 9.0}, r"losses\.ratio is 9\.0, not"),
        ({"training.epochs": 1}, r"training\.epochs is 1, not"),
    ],
)
def test_what_was_not_proposed_is_named(changes, named):
    _, reason = beside_metrics(TRIAL, {FACTS: as_text(built(**changes))})
    with pytest.raises(ValueError, match=named):
        raise ValueError(reason)


@pytest.mark.parametrize("report", [{}, {FACTS: as_text({})}, {FACTS: as_text({}), USAGE: as_text({})}])
def test_a_trial_that_tells_nothing_is_taken_as_it_is(report):
    assert beside_metrics(TRIAL, report) == ({}, "")


def test_where_a_worker_trains_decides_nothing():
    elsewhere = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"num_threads": 7})})
    assert expected_facts(elsewhere, blocks=(2, 4), keep_counts=(30, 20)) == built()
