"""What a study knows of its trials, as values: read by every view, written by the driver alone. No Ray, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from search.failures import Failure
from search.usage import Usage
from spvit.options import TokenForm


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
class TrialRecord:
    """One trial. `curve[e]` is the validation top-1 (percent) after epoch e + 1, and `form` how the model then ran.

    `epoch_s[e]` is how long that epoch took, in seconds; empty where nobody said. `failure` is why it could not go on;
    None where it ended in order or the pruner stopped it.
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
    mlflow_run_id: str | None = None
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def training_form(self) -> str:
        """The form that its training runs, by name; empty where its configuration does not say."""
        return str(self.config.get("training", {}).get("form", ""))

    @property
    def num_epochs(self) -> int:
        """Epochs that were trained."""
        return len(self.curve)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """One study as it stands: what was asked, what the budget is, and every trial.

    `max_latency_ms` is the cap that every trial keeps, `smaller_budgets_ms` (ascending) are reported beside it. `usage`
    is the time of all sessions, `end` why the last one ended; None while one is running, or where it was killed.
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
    table_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    smaller_budgets_ms: tuple[float, ...] = ()
    usage: Usage = field(default_factory=Usage)
    end: SearchEnd | None = None

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """Every budget, ascending; the last one is the cap."""
        return (*self.smaller_budgets_ms, self.max_latency_ms)

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """Trials that were trained to the end."""
        return tuple(t for t in self.trials if t.state is TrialState.COMPLETE)
