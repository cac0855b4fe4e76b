"""What a progressive insertion did and reached: for the terminal, `--json` and `progressive.json`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search.budget import LatencyBudget
from search.progressive import Conclusion, Step
from search.progressive_config import ProgressiveConfig
from search.records import Latency
from spvit.schedule import PruningSchedule


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalModel:
    """The merged schedule after its training. `top1` in percent, `latency` as the table predicts it."""

    schedule: PruningSchedule
    latency: Latency
    top1: float
    num_epochs: int
    directory: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressiveReport:
    """A whole run; `finished_at` in seconds since 1970. No `final` where accuracy did not allow to meet the budget."""

    study: str
    options: ProgressiveConfig
    budget: LatencyBudget
    conclusion: Conclusion
    finished_at: float
    final: FinalModel | None = None

    @property
    def dense(self) -> Step:
        """The dense model."""
        return self.conclusion.steps[0]

    @property
    def num_epochs(self) -> int:
        """Epochs trained by all steps and the final training; the dense model takes none."""
        steps = (len(self.conclusion.steps) - 1) * self.options.epochs_per_step
        return steps + (self.final.num_epochs if self.final else 0)

    @property
    def final_drop(self) -> float | None:
        """Points of top-1 that the final model lacks to the dense one."""
        return (self.dense.top1 or 0.0) - self.final.top1 if self.final else None

    @property
    def speed_up(self) -> float | None:
        """How many times faster than the dense model the final one is predicted to be."""
        return self.dense.latency.mean_ms / self.final.latency.mean_ms if self.final else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        final = self.final and asdict(self.final) | {
            "schedule": _plain_stages(self.final.schedule),
            "top1_drop": self.final_drop,
            "speed_up": self.speed_up,
        }
        return {
            "study": self.study,
            "is_within_budget": self.final is not None,
            "max_latency_ms": self.budget.max_ms,
            "budget_source": self.budget.source,
            "max_top1_drop": self.options.max_top1_drop,
            "dense_top1": self.dense.top1,
            "dense_latency_ms": self.dense.latency.mean_ms,
            "num_epochs": self.num_epochs,
            "steps": [_plain_step(step) for step in self.conclusion.steps],
            "accepted": _plain_step(self.conclusion.accepted),
            "final": final,
        }

    def to_text(self) -> str:
        """All that, to be read."""
        aim = (
            f"budget {self.budget.max_ms:.3f} ms ({self.budget.source}), at most {self.options.max_top1_drop:g} points "
            f"below the dense model's {self.dense.top1:.2f} %"
        )
        return "\n".join(
            [
                aim,
                *(step_line(step) for step in self.conclusion.steps),
                self.final_line(),
                f"{len(self.conclusion.steps) - 1} steps, {self.num_epochs} epochs in all",
            ]
        )

    def final_line(self) -> str:
        """The final model in one line, or what was reached without one."""
        if self.final is None:
            return f"nothing within the budget: {self.shortfall()}"
        final, change = self.final, 0.0 - (self.final_drop or 0.0)
        return (
            f"final: {schedule_text(final.schedule)}: top-1 {final.top1:.2f} % ({change:+.2f}), "
            f"{final.latency.mean_ms:.3f} ms, {self.speed_up:.2f} times the dense model's speed\n"
            f"checkpoints {final.directory}"
        )

    def shortfall(self) -> str:
        """What was reached where nothing meets the budget."""
        accepted, options = self.conclusion.accepted, self.options
        return (
            f"with top-1 at most {options.max_top1_drop:g} points below {self.dense.top1:.2f} %, progressive insertion "
            f"reached {accepted.latency.mean_ms:.3f} ms (at most {accepted.latency.high_ms:.3f} ms) with "
            f"{schedule_text(accepted.schedule)}, but the budget is {self.budget.max_ms:.3f} ms ({self.budget.source})"
        )


def step_line(step: Step) -> str:
    """One step in one line."""
    accuracy = "diverged" if step.top1 is None else f"top-1 {step.top1:.2f} % ({0.0 - (step.top1_drop or 0.0):+.2f})"
    return (
        f"step {step.number}, {step.phase}: {schedule_text(step.schedule)}: {step.latency.mean_ms:.3f} ms "
        f"(at most {step.latency.high_ms:.3f}), {accuracy}, {step.verdict}"
    )


def schedule_text(schedule: PruningSchedule) -> str:
    """Stages as `keep .7 from block 3, .5 from 6`."""
    if not schedule.stages:
        return "no selector"
    return "keep " + ", ".join(f"{stage.keep_rate:g} from block {stage.block}" for stage in schedule.stages)


def _plain_step(step: Step) -> dict[str, Any]:
    return asdict(step) | {
        "schedule": _plain_stages(step.schedule),
        "phase": str(step.phase),
        "verdict": str(step.verdict),
    }


def _plain_stages(schedule: PruningSchedule) -> list[Mapping[str, Any]]:
    return [asdict(stage) for stage in schedule.stages]
