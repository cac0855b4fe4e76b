"""Work that workers do together ends for all of them, and for the true reason, whoever fails. Without processes."""

import logging
from concurrent.futures import Future
from threading import Event

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from search.joint_work import JointWork
from search.worker_errors import WorkerLostError
from spvit.errors import DivergedError

TIMEOUT_S = 30.0


class Others:
    """The other workers of a trial, whose parts end when the test says so, and fail when they are ended."""

    def __init__(self, num):
        self.futures = {rank: Future() for rank in range(1, num + 1)}
        self.ended = Event()

    def work(self):
        return JointWork({rank: Call(future) for rank, future in self.futures.items()}, end_all=self.end)

    def end(self):
        for future in self.futures.values():
            if not future.done():
                future.set_exception(ActorDiedError())
        self.ended.set()

    def wait_for_one_that_is_gone(self):
        """What a collective operation does."""
        assert self.ended.wait(TIMEOUT_S)
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1")


class Call:
    def __init__(self, future):
        self._future = future

    def future(self):
        return self._future


def _as_ray_tells(error):
    return RayTaskError("run_epoch", "its traceback", error).as_instanceof_cause()


def test_the_answer_is_the_own_part_s_and_warnings_are_passed_on(caplog):
    others = Others(2)
    work = others.work()
    others.futures[1].set_result([])
    others.futures[2].set_result(["Damaged image left out: a.png"])
    with caplog.at_level(logging.WARNING, logger="trainers"):
        assert work.done_with(lambda: 7) == 7
    assert caplog.messages == ["Damaged image left out: a.png"]
    assert not others.ended.is_set()


def test_what_another_raises_ends_all_and_is_raised_here():
    others = Others(3)
    work = others.work()
    others.futures[2].set_exception(_as_ray_tells(DivergedError("the loss is nan")))
    with pytest.raises(DivergedError, match="the loss is nan") as caught:
        work.done_with(others.wait_for_one_that_is_gone)
    assert type(caught.value) is DivergedError
    assert "Raised in worker 2" in caught.value.__notes__[0]
    assert "its traceback" in caught.value.__notes__[0]


def test_an_error_here_ends_the_others():
    others = Others(2)

    def fail():
        raise DivergedError("here")

    with pytest.raises(DivergedError, match="here"):
        others.work().done_with(fail)
    assert others.ended.is_set()


def test_a_death_is_named_although_others_only_lost_contact():
    others = Others(2)
    work = others.work()
    others.futures[1].set_exception(_as_ray_tells(RuntimeError("gloo: Connection reset by peer")))
    others.futures[2].set_exception(ActorDiedError())
    with pytest.raises(WorkerLostError, match="worker 2 of 3 was lost: The actor died"):
        work.done_with(others.wait_for_one_that_is_gone)


def test_one_that_fails_after_the_own_part_fails_the_work():
    others = Others(1)
    work = others.work()

    def succeed():
        others.futures[1].set_exception(_as_ray_tells(OSError("no space")))

    with pytest.raises(OSError, match="no space"):
        work.done_with(succeed)
    assert others.ended.is_set()


class OddError(Exception):
    """Takes no notes and has no text."""

    def add_note(self, note):
        raise AttributeError

    def __str__(self):
        return ""


def test_an_error_that_takes_no_notes_leaves_nobody_waiting():
    others = Others(1)
    work = others.work()
    others.futures[1].set_exception(_as_ray_tells(OddError()))
    with pytest.raises(OddError):
        work.done_with(others.wait_for_one_that_is_gone)
