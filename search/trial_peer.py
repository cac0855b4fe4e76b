"""A worker of a trial beside the one that Tune runs: trains its share, writes and reports nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from search.trial_factory import Trainee, TrialFactory
from search.worker_warnings import WarningCollector
from trainers.config import TrialConfig

if TYPE_CHECKING:
    from trainers.process_group import Meeting


LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """What a worker must know to build a trial with the others."""

    config: TrialConfig
    directory: Path
    meeting: Meeting


class TrialPeer:
    """One of the workers 1 and up, in a process of its own. Every method returns the warnings that came up in it.

    Worker 0 tells it what to do. What it raises goes there, and then it is not used again.
    """

    def __init__(self, factory: TrialFactory, rank: int) -> None:
        self._factory, self._rank = factory, rank
        self._trainee: Trainee | None = None
        self._warnings = WarningCollector.installed()

    def is_there(self) -> list[str]:
        """Say so."""
        return self._warnings.take()

    def rest(self) -> list[str]:
        """Forget the trial and leave its group. torch is there afterwards: nobody should wait for it in a meeting."""
        from trainers.process_group import leave

        self._trainee = None
        leave()
        return self._warnings.take()

    def build(self, build: Build) -> list[str]:
        """Meet the others and build the same trial."""
        from trainers.process_group import join
        from trainers.workers import resolve_device

        is_local = build.meeting.address == LOOPBACK
        address = LOOPBACK if is_local else ray.util.get_node_ip_address()
        join(build.meeting, self._rank, address=address, device=resolve_device(build.config.training.device))
        self._trainee = self._factory(build.config, build.directory)
        return self._warnings.take()

    def run_epoch(self) -> list[str]:
        """Train this worker's share of an epoch."""
        if self._trainee is None:
            raise RuntimeError("A worker must build a trial before it can train it.")
        self._trainee.run_epoch()
        return self._warnings.take()
