"""Worker 0 of a trial that several workers train: the others live in the trial's placement group and follow it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.util.placement_group import get_current_placement_group, placement_group_table
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from search.joint_work import JointWork
from search.trial_factory import Trainee, TrialFactory
from search.trial_peer import LOOPBACK, Build, TrialPeer
from search.trial_resources import TrialResources
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics

Answer = TypeVar("Answer")


class TrialTeam:
    """A `TrialFactory` whose trials are trained by several workers, one trial after the other by the same ones.

    What any of them meets is raised here as if this one had met it, and none is left waiting for another: where one
    fails the others are ended, and new ones are started for the next trial.
    """

    def __init__(self, factory: TrialFactory, resources: TrialResources) -> None:
        self._factory, self._resources = factory, resources
        self._peers: dict[int, Any] = {}

    def __call__(self, config: TrialConfig, directory: Path) -> Trainee:
        """Build a trial in all workers.

        Raises:
            WorkerLostError: a worker is gone.
            Exception: what the factory raised, in any worker.
        """
        from trainers.process_group import Host, join
        from trainers.workers import resolve_device

        self._gather()
        address = _meeting_address()
        host = Host(address, self._resources.workers)

        def build() -> Trainee:
            join(host.meeting, 0, address=address, device=resolve_device(config.training.device), host=host)
            return self._factory(config, directory)

        order = Build(config=config, directory=directory, meeting=host.meeting)
        return _TeamTrainee(self.together("build", order, own=build), self)

    def together(self, method: str, *arguments: object, own: Callable[[], Answer]) -> Answer:
        """Have the other workers do something while this one does its part; returns that part's answer.

        Raises:
            WorkerLostError: a worker is gone.
            Exception: what one of them raised.
        """
        calls = {rank: getattr(peer, method).remote(*arguments) for rank, peer in self._peers.items()}
        return JointWork(calls, end_all=self.end).done_with(own)

    def end(self) -> None:
        """End the other workers, whatever they do."""
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            ray.kill(peer)

    def _gather(self) -> None:
        """Have all workers there, none in a trial."""
        from trainers.process_group import leave

        try:
            self.together("is_there", own=_nothing)  # with NCCL nobody leaves a group as long as one does not
            self.together("rest", own=leave)
        except Exception:  # one died while it had nothing to do
            self.end()
            leave()
        if not self._peers:
            self._peers = self._started()
            self.together("rest", own=_nothing)

    def _started(self) -> dict[int, Any]:
        needs = self._resources.bundle()
        group = get_current_placement_group()
        actor = ray.remote(TrialPeer)
        return {
            rank: actor.options(
                num_cpus=needs.get("CPU", 0),
                num_gpus=needs.get("GPU", 0),
                memory=needs.get("memory"),
                max_restarts=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
            ).remote(self._factory, rank)
            for rank in range(1, self._resources.workers)
        }


class _TeamTrainee:
    """This worker's trainee, whose epochs the others train with it."""

    def __init__(self, own: Trainee, team: TrialTeam) -> None:
        self._own, self._team = own, team

    @property
    def epoch(self) -> int:
        return self._own.epoch

    @property
    def is_done(self) -> bool:
        return self._own.is_done

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        return self._own.history

    def run_epoch(self) -> EpochMetrics:
        return self._team.together("run_epoch", own=self._own.run_epoch)


def _meeting_address() -> str:
    """By which all workers of the trial reach this one: nobody else does where they are on one machine."""
    bundles = placement_group_table(get_current_placement_group())["bundles_to_node_id"]
    return LOOPBACK if len(set(bundles.values())) == 1 else ray.util.get_node_ip_address()


def _nothing() -> None:
    return None
