"""What a driver answers: whether a trial goes on, and why none is started."""

from __future__ import annotations

from enum import Enum


class Decision(Enum):
    """What a trial does after a report."""

    CONTINUE = "continue"
    STOP = "stop"


class Idle(Enum):
    """Why there is no trial to start."""

    WAIT = "wait"
    FINISHED = "finished"
