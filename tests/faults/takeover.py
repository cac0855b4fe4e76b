"""A driver is paused, another one takes its study, and the first one wakes up."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

from faulty_search import Order
from harness import Session
from judging import Tally, judge

from search.records import StudyRecord
from spvit.errors import ExitCode


def contest(order: Order, seed: int, undisturbed: StudyRecord | None) -> Tally:
    """What three drivers do to one study; violations name whatever was not as it is to be."""
    chance, tally = random.Random(seed), Tally(faults=1)
    paused = Session(order)
    paused.wait_for_epoch(chance.randint(1, 6))
    time.sleep(chance.uniform(0.0, 0.06))
    paused.send(signal.SIGSTOP)
    if paused.code is not None:  # it had ended before
        return Tally()
    at = time.time()
    try:
        refused = Session(order)
        _expect(tally, "a second driver", refused.end(), ExitCode.STUDY_LOCKED)
        text = (Path(order.folder) / f"stderr-{refused.pid}.log").read_text()
        if f"process {paused.pid} on" not in text:
            tally.violations.append(f"the second driver was not told who the first one is: {text}")
        second = Session(replace(order, takeover=True))
        _expect(tally, "the driver that took over", second.end(), 0)
    finally:
        os.kill(paused.pid, signal.SIGCONT)
    _expect(tally, "the driver that was shut out", paused.end(), ExitCode.STUDY_LOCKED)
    judge(tally, order, [(at, None)], undisturbed)
    return tally


def _expect(tally: Tally, who: str, code: int, wanted: int) -> None:
    if code != wanted:
        tally.violations.append(f"{who} ended with {code} and not {int(wanted)}")
