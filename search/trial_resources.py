"""`[trial]` of an experiment file: how many workers train one trial, what each gets, where they are put. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from search.search_config import SearchConfig
from trainers.config import FrozenConfig, Positive
from trainers.frozen_config import NonNegative

MIB = 1 << 20


class Placement(StrEnum):
    """Where the workers of a trial are put, as Ray's placement groups name it. Both fall back where there is no room.

    PACK puts them on as few machines as hold them, SPREAD on as many as there are.
    """

    PACK = "pack"
    SPREAD = "spread"


class ResourcesConfig(FrozenConfig):
    """What one worker of a trial gets."""

    cpus: Positive | None = Field(default=None, description="CPUs; search.cpus_per_trial if absent.")
    gpus: NonNegative | None = Field(
        default=None,
        description="GPUs; search.gpus_per_trial if absent. Below 1, several trials share a GPU.",
    )
    memory_mib: int | None = Field(
        default=None, ge=1, description="Memory set aside on its machine, in MiB; none in particular if absent."
    )


class TrialWorkersConfig(FrozenConfig):
    """The workers that train one trial together."""

    workers: int = Field(
        default=1, ge=1, description="Processes that share each step's batch; more than one train in parallel."
    )
    resources_per_worker: ResourcesConfig = ResourcesConfig()
    placement: Placement = Field(
        default=Placement.PACK, description="`pack` keeps a trial's workers together, `spread` apart, if there is room."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResources:
    """What one trial takes: `workers` bundles of the same size."""

    workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    memory_mib_per_worker: int | None = None
    placement: Placement = Placement.PACK

    def __post_init__(self) -> None:
        gpus = self.gpus_per_worker
        if gpus > 1 and gpus != math.floor(gpus):
            raise ValueError(f"a worker has a part of one GPU or whole ones, but {gpus:g} GPUs were asked for it")
        if self.workers > 1 and 0 < gpus < 1:
            raise ValueError(
                f"workers of one trial cannot share a GPU (NCCL refuses it), but trial.workers = {self.workers} with "
                f"{gpus:g} GPUs each were asked for: give each a whole one, or let one worker train each trial"
            )

    @classmethod
    def from_config(cls, trial: TrialWorkersConfig, search: SearchConfig) -> TrialResources:
        """The resources that an experiment asks for.

        Raises:
            ValueError: `[trial]` and `[search]` contradict each other, or no device can give this.
        """
        each = trial.resources_per_worker
        return cls(
            workers=trial.workers,
            cpus_per_worker=_one_of("cpus", each.cpus, search.cpus_per_trial, trial.workers),
            gpus_per_worker=_one_of("gpus", each.gpus, search.gpus_per_trial, trial.workers),
            memory_mib_per_worker=each.memory_mib,
            placement=trial.placement,
        )

    @property
    def cpus(self) -> float:
        """CPUs of a whole trial."""
        return self.workers * self.cpus_per_worker

    @property
    def gpus(self) -> float:
        """GPUs of a whole trial."""
        return self.workers * self.gpus_per_worker

    @property
    def threads_per_worker(self) -> int:
        """CPU threads that a worker computes with where `training.num_threads` does not say."""
        return max(1, int(self.cpus_per_worker))

    def bundle(self) -> dict[str, float]:
        """What one worker takes, by Ray's names and in Ray's units (memory in bytes)."""
        found = {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker}
        if self.memory_mib_per_worker is not None:
            found["memory"] = float(self.memory_mib_per_worker * MIB)
        return {name: amount for name, amount in found.items() if amount}


def _one_of(name: str, per_worker: float | None, per_trial: float, workers: int) -> float:
    """The key of `[trial]` where it is given; that of `[search]`, which is older, where one worker trains a trial."""
    default = SearchConfig.model_fields[f"{name}_per_trial"].default
    if per_trial == default:
        return float(default if per_worker is None else per_worker)
    if per_worker is not None or workers > 1:
        raise ValueError(
            f"say how many {name} a worker gets in one place: trial.resources_per_worker.{name}, not "
            f"search.{name}_per_trial = {per_trial:g}, which is for trials of one worker"
        )
    return per_trial
