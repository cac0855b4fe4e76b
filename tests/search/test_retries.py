"""A policy by cause: how often, when and with what changed a failed trial is run again."""

import errno
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, NodeDiedError, RayTaskError
from ray.exceptions import OutOfMemoryError as NodeOutOfMemoryError

from search.failure_log import MIN_ENDED, FailureLog
from search.failures import Failure, failure_of, failure_of_death
from search.records import Latency, TrialRecord, TrialState
from search.retries import (
    BUDGETS,
    MAX_DELAY_S,
    config_of_retry,
    delay_s,
    has_retry_left,
    images_per_pass,
    is_given_up,
    trials_to_retry,
)
from search.watchdog import Watchdog
from search.worker_errors import WorkerDiedError, true_cause
from spvit.errors import ConfigError, DataError, DivergedError, StorageError
from trainers.config import TrainingConfig

FAILURES = st.sampled_from(list(Failure))


def _trial(number, failure, *, retry_of=None, batch_size=256, micro_batch_size=None):
    return TrialRecord(
        number=number,
        state=TrialState.FAIL,
        params={},
        config={"training": {"batch_size": batch_size, "micro_batch_size": micro_batch_size}},
        latency=Latency(mean_ms=1.0, low_ms=1.0, high_ms=1.0),
        keep_counts=(),
        blocks=(),
        failure=failure,
        retry_of=retry_of,
    )


def _attempts(failures, **config):
    return [_trial(number, f, retry_of=0 if number else None, **config) for number, f in enumerate(failures)]


def _raised(outer, inner):
    try:
        try:
            raise inner
        except BaseException as error:
            raise outer from error
    except BaseException as error:
        return error


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (RuntimeError("shapes do not fit"), Failure.CONFIGURATION),
        (ConfigError("no such model"), Failure.CONFIGURATION),
        (DivergedError("loss is nan"), Failure.DIVERGENCE),
        (MemoryError(), Failure.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory"), Failure.OUT_OF_MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Failure.OUT_OF_MEMORY),
        (NodeOutOfMemoryError("killed"), Failure.OUT_OF_MEMORY),
        (StorageError("checkpoint"), Failure.STORAGE),
        (OSError(errno.ENOSPC, "No space left on device"), Failure.STORAGE),
        (OSError(errno.EROFS, "Read-only file system"), Failure.STORAGE),
        (OSError(errno.EIO, "Input/output error"), Failure.INFRASTRUCTURE),
        (DataError("gone"), Failure.INFRASTRUCTURE),
        (_raised(RuntimeError("worker 1 failed"), MemoryError()), Failure.OUT_OF_MEMORY),
        (_raised(StorageError("checkpoint"), RuntimeError("file too large")), Failure.STORAGE),
        (RayTaskError("step", "traceback", DivergedError("nan")), Failure.DIVERGENCE),
    ],
)
def test_what_a_worker_raises_has_one_meaning(error, failure):
    assert failure_of(error) is failure


def test_memory_that_torch_cannot_have_on_a_cpu_is_told_by_its_words():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert failure_of(raised.value) is Failure.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (str(ActorDiedError()), Failure.INFRASTRUCTURE),
        ("The actor died because its node has died. Node Id: 1f", Failure.NODE_LOST),
        ("The actor died because its node has died.\n\tthe actor's node was preempted: spot", Failure.PREEMPTED),
        ("Task was killed due to the node running low on memory.", Failure.OUT_OF_MEMORY),
        (f"NodeDiedError: {NodeDiedError('gone')}", Failure.NODE_LOST),
        ("(1) The process is killed by SIGKILL by OOM killer due to high memory usage.", Failure.INFRASTRUCTURE),
        ("", Failure.INFRASTRUCTURE),
    ],
)
def test_what_ray_says_of_a_death_has_one_meaning(text, failure):
    assert failure_of_death(text) is failure


def test_every_cause_has_a_budget_and_survives_its_way_between_processes():
    assert set(BUDGETS) == set(Failure)
    assert all(pickle.loads(pickle.dumps(failure)) is failure for failure in Failure)  # noqa: S301
    assert {f: b.max_retries for f, b in BUDGETS.items() if b.max_retries is not None} == {
        Failure.OUT_OF_MEMORY: 1,
        Failure.INFRASTRUCTURE: 3,
        Failure.CONFIGURATION: 0,
        Failure.DIVERGENCE: 0,
    }


@given(st.lists(FAILURES, min_size=1, max_size=12))
def test_a_trial_is_run_again_exactly_while_its_last_cause_has_some_left(failures):
    attempts = _attempts(failures)
    limit = BUDGETS[failures[-1]].max_retries
    expected = limit is None or failures.count(failures[-1]) <= limit
    assert has_retry_left(attempts) is expected
    assert trials_to_retry(attempts) == ((attempts[-1],) if expected else ())
    assert is_given_up(attempts) is (not expected and BUDGETS[failures[-1]].is_own_fault)
    ended = [*attempts, replace(attempts[-1], number=len(attempts), retry_of=0, state=TrialState.PRUNED)]
    assert trials_to_retry(ended) == ()


@given(st.lists(FAILURES, min_size=1, max_size=40))
def test_only_a_row_of_lost_nodes_makes_a_trial_wait_and_each_more_twice_as_long(failures):
    waits = delay_s(_attempts(failures))
    backs_off = [BUDGETS[failure].backs_off for failure in failures]
    assert (waits > 0) is backs_off[-1]
    assert waits <= MAX_DELAY_S
    if backs_off[-1]:
        assert delay_s(_attempts([*failures, Failure.NODE_LOST])) == min(MAX_DELAY_S, 2 * waits)


@given(st.integers(1, 512), st.none() | st.integers(1, 512))
def test_memory_is_saved_by_half_the_images_at_once_and_the_batch_stays(batch_size, micro_batch_size):
    micro_batch_size = micro_batch_size and min(batch_size, micro_batch_size)
    trial = _trial(0, Failure.OUT_OF_MEMORY, batch_size=batch_size, micro_batch_size=micro_batch_size)
    size = images_per_pass(trial.config)
    assert has_retry_left([trial]) is (size > 1)
    if size > 1:
        training = TrainingConfig.model_validate(config_of_retry(trial)["training"])
        assert (training.batch_size, training.micro_batch_size) == (batch_size, size // 2)
    other = replace(trial, failure=Failure.NODE_LOST)
    assert config_of_retry(other) == trial.config


def test_failures_are_counted_by_cause_with_the_first_of_each():
    log = FailureLog(0.5)
    for number, failure in enumerate(
        [Failure.INFRASTRUCTURE, Failure.DIVERGENCE, Failure.DIVERGENCE, Failure.NODE_LOST]
    ):
        log.add(failure, number=number, reason=f"reason {number}\nand more")
    log.add(Failure.INTERRUPTED, number=9, reason="stopped")
    assert log.error() is None
    for number in range(4, 4 + MIN_ENDED - 3):
        log.add(None, number=number, reason="")
    assert log.error() is None  # half of them is not more than half
    log.add(Failure.OUT_OF_MEMORY, number=20, reason="x" * 1000)
    text = str(log.error())
    assert text.startswith("4 of 7 trials failed, more than search.max_failed_share = 0.5 allows:\n")
    assert "  2 x divergence, first trial 1: reason 1\n" in text
    assert "  1 x infrastructure, first trial 0: reason 0\n" in text
    assert "  1 x out of memory, first trial 20: xxx" in text
    assert "node lost" not in text
    assert len(text.splitlines()) <= 10
    assert max(map(len, text.splitlines())) < 200


@given(st.floats(2, 50), st.floats(1, 1000), st.lists(st.floats(0.1, 1000), max_size=5))
def test_a_trial_may_be_silent_for_the_slowest_epoch_times_the_factor_but_not_less_than_the_floor(
    factor, floor, epochs
):
    now_s = 0.0
    watchdog = Watchdog(factor=factor, floor_s=floor, clock=lambda: now_s)
    watchdog.begin(1)
    for epoch_s in epochs:
        now_s += epoch_s
        watchdog.report(1)
    limit_s = max(floor, factor * (max(epochs) if epochs else floor))
    assert watchdog.limit_s == pytest.approx(limit_s)
    now_s += 0.99 * limit_s
    assert watchdog.stuck() == ()
    now_s += 0.02 * limit_s
    assert [stuck.number for stuck in watchdog.stuck()] == [1]
    watchdog.end(1)
    assert watchdog.stuck() == ()


def test_a_share_of_the_batch_is_halved_where_several_workers_have_one_each(make_trial):
    config = {"training": {"batch_size": 64, "micro_batch_size": None}}
    trial = make_trial(0, 0.0, 5.0, state=TrialState.FAIL, config=config, failure=Failure.OUT_OF_MEMORY)
    assert [images_per_pass(config, workers) for workers in (1, 2, 4)] == [64, 32, 16]
    sizes = [config_of_retry(trial, workers)["training"]["micro_batch_size"] for workers in (1, 2, 4)]
    assert sizes == [32, 16, 8]


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("The actor died because its node has died. Node Id: abc", Failure.NODE_LOST),
        ("The actor died because its worker process exited", Failure.INFRASTRUCTURE),
    ],
)
def test_the_loss_of_another_worker_is_judged_by_what_ray_says_of_it(said, failure):
    cause = true_cause({1: WorkerDiedError(said)}, num_workers=2, is_loss_of_contact=lambda error: False)
    assert failure_of(cause) is failure
