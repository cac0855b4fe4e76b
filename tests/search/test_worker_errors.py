"""Of the errors that workers meet when one of them fails, the one is found from which the others follow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.worker_errors import WorkerDiedError, WorkerLostError, true_cause
from spvit.errors import DataError, DivergedError, StorageError

CONTACT = RuntimeError("Connection closed by peer")
OWN = st.sampled_from([DivergedError("nan"), DataError("gone"), StorageError("full"), MemoryError()])
FOLLOWING = st.sampled_from([CONTACT, WorkerDiedError("killed\nlong story")])


def _cause(errors):
    return true_cause(errors, num_workers=9, is_loss_of_contact=lambda error: error is CONTACT)


@given(own=OWN, rank=st.integers(0, 8), others=st.dictionaries(st.integers(0, 8), FOLLOWING))
def test_what_a_worker_raised_itself_comes_first(own, rank, others):
    assert _cause(others | {rank: own}) is own


@given(rank=st.integers(0, 8), others=st.dictionaries(st.integers(0, 8), st.just(CONTACT)))
def test_a_death_comes_before_lost_connections(rank, others):
    died = WorkerDiedError("killed\nlong story")
    cause = _cause(others | {rank: died})
    assert isinstance(cause, WorkerLostError)
    assert str(cause) == f"worker {rank} of 9 was lost: killed"
    assert cause.__cause__ is died


def test_of_a_death_the_reason_is_told():
    text = (
        "The actor died unexpectedly.\n\tpid: 7\nThe actor is dead because its node has died. Node Id: 0f. And so on."
    )
    assert str(_cause({3: WorkerDiedError(text)})) == "worker 3 of 9 was lost: its node has died"


def test_a_lost_connection_alone_is_the_clusters_fault():
    with pytest.raises(WorkerLostError, match=r"worker 2 of 9 lost contact to the others: Connection closed by peer"):
        raise _cause({2: CONTACT})
