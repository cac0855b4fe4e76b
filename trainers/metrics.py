"""What a trial reports. No torch: the driver reads these too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from spvit.options import TokenForm
from spvit.schedule import PruningSchedule

PRICED = "priced"
"""The one value of an epoch that is no number but a list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Accuracy of a model on one split. Top-1 and top-5 in percent, loss as plain cross-entropy.

    `form` is how the model was run; a model that drops nothing is the same in all of them.
    """

    top1: float
    top5: float
    loss: float
    num_images: int
    form: TokenForm = TokenForm.GATHERED


class Weights(StrEnum):
    """Which weights were evaluated: those that a step left, or their moving average. Checkpoints hold the same."""

    RAW = "raw"
    EMA = "ema"


@dataclass(frozen=True, kw_only=True, slots=True)
class PricedSchedule:
    """A schedule, what it costs (see `SchedulePrice`) and its top-1 in percent, where that is known."""

    schedule: PruningSchedule
    cost: float
    top1: float | None = None

    def found(self, top1: float) -> PricedSchedule:
        """The same with what was found."""
        return replace(self, top1=top1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "blocks": list(self.schedule.blocks),
            "keep_rates": list(self.schedule.keep_rates),
            "cost": self.cost,
            "top1": self.top1,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PricedSchedule:
        """What `to_dict` wrote."""
        schedule = PruningSchedule.from_keep_rates(values["keep_rates"], values["blocks"])
        return cls(schedule=schedule, cost=float(values["cost"]), top1=values["top1"])


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochMetrics:
    """One finished epoch of one trial. `epoch` counts finished epochs: the first report says 1.

    `priced` are the schedules that an elastic trial evaluated; the evaluation is then the mean over them.
    """

    epoch: int
    evaluation: Evaluation
    weights: Weights = Weights.RAW
    loss_terms: Mapping[str, float] = field(default_factory=dict)
    lr: float = 0.0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    images_per_second: float = 0.0
    priced: tuple[PricedSchedule, ...] = ()

    @property
    def seconds(self) -> float:
        """What the epoch took: training and evaluation."""
        return self.train_seconds + self.eval_seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain values with flat names, for the border to Ray and MLflow."""
        flat: dict[str, Any] = {
            "epoch": self.epoch,
            "weights": self.weights.value,
            "lr": self.lr,
            "train_seconds": self.train_seconds,
            "eval_seconds": self.eval_seconds,
        }
        flat |= {"images_per_second": self.images_per_second}
        flat |= {f"val_{name}": value for name, value in asdict(self.evaluation).items()}
        flat |= {"val_form": self.evaluation.form.value}
        flat |= {f"loss_{name}": value for name, value in self.loss_terms.items()}
        return flat | ({PRICED: [priced.to_dict() for priced in self.priced]} if self.priced else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpochMetrics:
        """What `to_dict` wrote; other keys are ignored."""
        return cls(
            epoch=int(values["epoch"]),
            evaluation=Evaluation(
                top1=float(values["val_top1"]),
                top5=float(values["val_top5"]),
                loss=float(values["val_loss"]),
                num_images=int(values["val_num_images"]),
                form=TokenForm(values.get("val_form", TokenForm.GATHERED)),
            ),
            weights=Weights(values.get("weights", Weights.RAW)),
            loss_terms={key[5:]: float(value) for key, value in values.items() if key.startswith("loss_")},
            lr=float(values.get("lr", 0.0)),
            train_seconds=float(values.get("train_seconds", 0.0)),
            eval_seconds=float(values.get("eval_seconds", 0.0)),
            images_per_second=float(values.get("images_per_second", 0.0)),
            priced=tuple(map(PricedSchedule.from_dict, values.get(PRICED, ()))),
        )
