"""Kills drivers at seeded moments, starts them again, and holds what is found against an undisturbed search."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import faulty_search
from faulty_search import GO, STUDY, WORK, Order
from judging import Tally, judge, notes

from search.records import StudyRecord
from search.study import read_study
from spvit.errors import SpvitError

SHARED = [Path(__file__).parent, Path(__file__).parents[1] / "search", Path(__file__).parents[2]]
KILLED = -int(signal.SIGKILL)
LIMIT_S, RAY_LIMIT_S = 280.0, 1200.0
"""For anything to happen in a session; Ray's workers run at the lowest priority, and wait for everybody else."""
WRITES = "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat2,unlink,unlinkat,rmdir,mkdir"
"""Steps of the system between which a process may die, and after which a disk is not what it was."""
CALL = re.compile(r"(\d+) +(\w+)\(")
PRELOADED = ["__main__", "faulty_search", "faulty_steps", "warm"]
"""The program itself too: every process that is forked would import it again."""
INJECTED = "(INJECTED)"
"""What strace adds to a line with which it meddled."""


def environment() -> dict[str, str]:
    """That of a session: it finds what the tests share."""
    paths = [*map(str, SHARED), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@cache
def _forks() -> Any:
    """A process that has imported everything once: a session forked from it starts in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    before = dict(os.environ)
    os.environ.update(environment())
    try:
        from multiprocessing import forkserver

        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


class Session:
    """One process of a search."""

    def __init__(self, order: Order, *, with_ray: bool = False) -> None:
        self.order, self.folder, self.begun_at = order, Path(order.folder), time.time()
        self._limit_s = RAY_LIMIT_S if with_ray else LIMIT_S
        self._num_begun = len(notes(self.folder, WORK))
        if with_ray:
            self._popen: subprocess.Popen[bytes] | None = subprocess.Popen(
                faulty_search.command(order),
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=(self.folder / "ray.log").open("ab"),
            )
            self.pid = self._popen.pid
        else:
            self._popen = None
            self._process = fork(faulty_search.forked, order)
            self.pid = self._process.pid

    def send(self, number: signal.Signals) -> None:
        """A signal, if the process is still there."""
        if self.code is None:
            os.kill(self.pid, number)

    @property
    def code(self) -> int | None:
        """Its exit code, negative the signal that ended it; None while it runs."""
        return self._process.exitcode if self._popen is None else self._popen.poll()

    def end(self) -> int:
        """Waits for its exit code."""
        wait_until(lambda: self.code is not None, self._limit_s)
        code = self.code
        assert code is not None
        return code

    @property
    def num_begun(self) -> int:
        """Epochs begun since it started."""
        return len(notes(self.folder, WORK)) - self._num_begun

    def wait_for_epoch(self, number: int) -> None:
        """Until it has begun so many epochs, or has ended."""
        wait_until(lambda: self.code is not None or self.num_begun >= number, self._limit_s)


def wait_until(condition: Callable[[], bool], within_s: float = LIMIT_S) -> None:
    """Looks often; a machine that is busy may take long."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "not so in time"
        time.sleep(0.005)


def fork(target: Callable[..., object], *arguments: object) -> Any:
    """A process that calls a function which can be imported from here."""
    process = _forks().Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def meddled(start: Callable[[], Any], folder: Path, inject: str, trace: str = WRITES) -> tuple[Any, list[str]]:
    """A process some of whose system calls strace makes fail or fatal, after its end; and those calls as text.

    Args:
        start: the process, which waits for the file `go` in the folder.
        folder: where that file and strace's text go.
        inject: what happens at which of the calls, as strace has it: `signal=KILL:when=7`.
        trace: which calls.
    """
    log = folder / "strace.log"
    for path in (log, folder / GO):
        path.unlink(missing_ok=True)
    process = start()
    inject_all = ["-e", f"inject={trace}:{inject}"] if inject else []
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={trace}", *inject_all, "-p", str(process.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    status = Path("/proc") / str(process.pid) / "status"
    wait_until(lambda: tracer.poll() is not None or "TracerPid:\t0\n" not in status.read_text())
    assert tracer.poll() is None, f"strace cannot trace here: {tracer.communicate()[1]}"
    (folder / GO).touch()
    tracer.communicate(timeout=540)
    return process, log.read_text().splitlines()


def kills_at(lines: Iterable[str]) -> list[tuple[str, str]]:
    """A kill at each step that strace wrote down: what to inject into which call; it counts each by itself."""
    counts: Counter[tuple[str, str]] = Counter()
    points = []
    for thread, call in (match.groups() for match in map(CALL.match, lines) if match):
        counts[thread, call] += 1
        points.append((f"signal=KILL:when={counts[thread, call]}", call))
    return points


def wait_for_go(folder: Path) -> None:
    """Until whoever meddles with this process has got hold of it."""
    wait_until((folder / GO).exists)


class Target(Enum):
    """Whom a signal hits."""

    DRIVER = "driver"
    WORKER = "worker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Blow:
    """When and how a session is hit.

    Attributes:
        epoch: after it has begun so many epochs; 0: as soon as it runs.
        delay_s: and so long after that.
        signals: sent one after the other.
        target: to whom; the worker is the process that began an epoch last.
        inject: instead: what strace does to its system calls.
        trace: to which.
        codes: how it may end.
    """

    epoch: int = 0
    delay_s: float = 0.0
    signals: tuple[signal.Signals, ...] = (signal.SIGKILL,)
    target: Target = Target.DRIVER
    inject: str = ""
    trace: str = WRITES
    codes: tuple[int, ...] = (KILLED,)


def strike(order: Order, blow: Blow, *, with_ray: bool = False) -> tuple[Session, bool]:
    """A session after its end, and whether it was hit: it may have ended before."""
    folder = Path(order.folder)
    if blow.inject:
        started = replace(order, waits=True)
        session, lines = meddled(lambda: Session(started), folder, blow.inject, blow.trace)
        session.end()
        return session, session.code == KILLED or any(INJECTED in line for line in lines)
    session = Session(order, with_ray=with_ray)
    session.wait_for_epoch(blow.epoch)
    time.sleep(blow.delay_s)
    is_hit = session.code is None
    for number in blow.signals:
        if blow.target is Target.DRIVER:
            session.send(number)
        elif session.code is None:
            os.kill(notes(folder, WORK)[-1]["pid"], number)
        time.sleep(0.002)
    session.end()
    return session, is_hit


def disturbed(
    order: Order, blows: Sequence[Blow], undisturbed: StudyRecord | None = None, *, with_ray: bool = False
) -> Tally:
    """A search that is hit again and again and then left to end; what that cost. The seed of it is the caller's."""
    tally, snapshots, sessions = Tally(), [], []
    for blow in blows:
        session, is_hit = strike(order, blow, with_ray=with_ray)
        sessions.append(session)
        tally.faults += is_hit
        if session.code not in {0, *(blow.codes if is_hit else ())}:
            tally.violations.append(f"a session that was hit by {blow} ended with {session.code}")
        if session.code == 0:
            break
        snapshots.append((time.time(), found(order)))
    else:
        sessions.append(Session(order, with_ray=with_ray))
        code = sessions[-1].end()
        assert code == 0, f"the last session ended with {code}: {sessions[-1].folder}"
    tally.recoveries_s = [s for session in sessions[1:] if (s := _recovery_s(session)) is not None]
    judge(tally, order, snapshots, undisturbed)
    return tally


def found(order: Order) -> StudyRecord | None:
    """The study as it is; None before there is one."""
    try:
        return read_study(Path(order.folder) / order.directory / STUDY)
    except (SpvitError, KeyError):
        return None


def _recovery_s(session: Session) -> float | None:
    """From the start of a session to its first epoch; None where there was none left."""
    own = [line["at"] for line in notes(session.folder, WORK) if line["at"] >= session.begun_at]
    return own[0] - session.begun_at if own else None


def undisturbed_search(folder: Path) -> StudyRecord:
    """The same search, left alone."""
    folder.mkdir(parents=True)
    order = Order(folder=str(folder))
    assert Session(order).end() == 0
    study = found(order)
    assert study is not None
    return study
