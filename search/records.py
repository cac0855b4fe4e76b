"""What a study knows of its trials, as values: read by every view, written by the driver alone. No Ray, no torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from search.driver_holder import Holder
from search.failures import Failure
from search.usage import Usage
from spvit.options import TokenForm
from trainers.metrics import PricedSchedule


class TrialState(StrEnum):
    """Optuna's states of a trial, by the names that it stores."""

    RUNNING = "RUNNING"
    WAITING = "WAITING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"

    @property
    def is_finished(self) -> bool:
        """Whether nothing will change any more."""
        return self in {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


class Origin(StrEnum):
    """Who asked for a trial."""

    SAMPLER = "sampler"
    WARM_START = "warm_start"
    ENQUEUED = "enqueued"  # a starting point of the user's own
    BASELINE = "baseline"  # a fixed schedule to compare with: trained in full, exempt from the budget and the pruner
    RETRY = "retry"  # an interrupted trial, run again from its checkpoint
    FINISHED = "finished"  # a chosen trial, trained to full length from its checkpoint; samplers do not learn from it
    ELASTIC = (
        "elastic"  # one training for every schedule within the budget; a front of its own, no point of the study's
    )
    CONTENDER = "contender"  # a schedule that elastic weights were found best with in a part of the latencies
    CONTINUED = "continued"  # a trial of the front, trained for more epochs from its checkpoint

    @property
    def is_counted(self) -> bool:
        """Whether such a trial is one of the number that a search is asked for."""
        return self not in {Origin.BASELINE, Origin.CONTINUED, Origin.ELASTIC, Origin.FINISHED}


class Rejection(StrEnum):
    """Why a proposal never became a trial."""

    TOO_SLOW = "too_slow"
    DUPLICATE = "duplicate"


class EndCause(StrEnum):
    """What ended a search."""

    TRIALS = "trials"
    EXHAUSTED = "exhausted"
    WALL_TIME = "wall_time"
    GPU_HOURS = "gpu_hours"
    TARGET = "target"
    PATIENCE = "patience"
    STOPPED = "stopped"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchEnd:
    """Why a search ended, as a cause and as a sentence without a full stop."""

    cause: EndCause
    reason: str

    @property
    def is_final(self) -> bool:
        """Whether `resume` would start nothing more: other settings are needed to go on."""
        return self.cause not in {EndCause.STOPPED, EndCause.ERROR}


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Predicted latency with its interval, in milliseconds for one batch of the table's size."""

    mean_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What a study goes on with from a trial on, after something that decides its trials was changed.

    `changes` holds old and new value of each key, as text; `continued` the trials that are trained for more epochs.
    """

    number: int
    from_trial: int
    changes: Mapping[str, tuple[str, str]]
    continued: tuple[int, ...] = ()

    def __str__(self) -> str:
        changes = ", ".join(f"{key}: {old} -> {new}" for key, (old, new) in self.changes.items())
        prolonged = f"; trials {', '.join(map(str, self.continued))} are trained on" if self.continued else ""
        return f"from trial {self.from_trial} on (generation {self.number}): {changes}{prolonged}"

    @property
    def epochs(self) -> int | None:
        """The epochs that trials are trained for from now on; None where that is as it was."""
        return int(self.changes["training.epochs"][1]) if "training.epochs" in self.changes else None

    def __post_init__(self) -> None:
        if self.number < 2 or self.from_trial < 0:
            raise ValueError(f"A further generation is the second or a later one, but got {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One trial. `curve[e]` is the validation top-1 (percent) after epoch e + 1, and `form` how the model then ran.

    `epoch_s[e]` is how long that epoch took, in seconds; empty where nobody said. `failure` is why it could not go on;
    None where it ended in order or the pruner stopped it. `generation` counts from 1, see `Generation`; `continues` is
    the first attempt of the complete trial whose training this one prolongs.

    An elastic trial has in `priced` the schedules that its last epoch evaluated, their `cost` being predicted
    milliseconds; its `curve` and `top1` are the mean accuracy of its own front (`search.elastic_front`).
    `estimated_top1` is what elastic weights gave a schedule that is trained further from them.
    """

    number: int
    state: TrialState
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    latency: Latency
    keep_counts: tuple[int, ...]
    blocks: tuple[int, ...]
    origin: Origin = Origin.SAMPLER
    label: str = ""
    curve: tuple[float, ...] = ()
    epoch_s: tuple[float, ...] = ()
    form: TokenForm = TokenForm.GATHERED
    top1: float | None = None
    reason: str = ""
    failure: Failure | None = None
    retry_of: int | None = None
    continues: int | None = None
    generation: int = 1
    estimated_top1: float | None = None
    priced: tuple[PricedSchedule, ...] = ()
    mlflow_run_id: str | None = None
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def is_model(self) -> bool:
        """Whether it was trained to the end, as the model of one schedule."""
        return self.state is TrialState.COMPLETE and self.origin is not Origin.ELASTIC

    @property
    def training_form(self) -> str:
        """The form that its training runs, by name; empty where its configuration does not say."""
        return str(self.config.get("training", {}).get("form", ""))

    @property
    def continues_epochs(self) -> int:
        """Epochs of the training that it prolongs, with which its curve begins; 0 where it prolongs none."""
        return int(self.config.get("training", {}).get("continues_epochs") or 0) if self.continues is not None else 0

    @property
    def num_epochs(self) -> int:
        """Epochs that were trained."""
        return len(self.curve)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """One study as it stands: what was asked, what the budget is, and every trial.

    `max_latency_ms` is the cap that every trial keeps, `smaller_budgets_ms` (ascending) are reported beside it. `usage`
    is the time of all sessions, `end` why the last one ended; None while one is running, or where it was killed.
    `num_val_images` is how many images a top-1 stands on; None in studies that did not note it.
    `generations` are those after the first; `most_trials` is the largest `num_trials` that was ever asked for.
    `driver` took the study and has not left in order; `driver_beat_at` is when it last showed that it is alive, by its
    own host's clock.
    """

    name: str
    directory: str
    experiment: Mapping[str, Any]
    dense_latency: Latency
    max_latency_ms: float
    num_trials: int
    num_epochs: int
    trials: tuple[TrialRecord, ...] = ()
    rejections: Mapping[Rejection, int] = field(default_factory=dict)
    mlflow_run_id: str | None = None
    mlflow_experiment_id: str | None = None
    dense_top1: float | None = None
    num_val_images: int | None = None
    table_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    smaller_budgets_ms: tuple[float, ...] = ()
    usage: Usage = field(default_factory=Usage)
    end: SearchEnd | None = None
    generations: tuple[Generation, ...] = ()
    most_trials: int = 0
    driver: Holder | None = None
    driver_beat_at: float | None = None

    @property
    def generation(self) -> int:
        """The one that new trials belong to, from 1."""
        return 1 + len(self.generations)

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """Every budget, ascending; the last one is the cap."""
        return (*self.smaller_budgets_ms, self.max_latency_ms)

    def with_trial(self, trial: TrialRecord) -> StudyRecord:
        """With a trial as it stands now, new or known; the others, in the order of their numbers, stay."""
        at = bisect_left(self.trials, trial.number, key=lambda known: known.number)
        behind = at + (at < len(self.trials) and self.trials[at].number == trial.number)
        return replace(self, trials=(*self.trials[:at], trial, *self.trials[behind:]))

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """Trials that were trained to the end, each as the model of one schedule."""
        return tuple(t for t in self.trials if t.is_model)

    @property
    def elastic(self) -> tuple[TrialRecord, ...]:
        """Trials that trained one set of weights for many schedules, whatever became of them."""
        return tuple(t for t in self.trials if t.origin is Origin.ELASTIC)
