"""What schedules of one set of weights do here and now: their accuracies, and their times beside the dense model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from search.certificate import DENSE, EVALUATION_BATCH_SIZE, Progress, check_runtime, time_side_by_side
from search.format_certificate import PRUNED, FormatTiming
from search.latency_config import LatencyConfig
from spvit.exported_schedules import ExportedSchedule
from spvit.schedule import PruningSchedule
from trainers.config import DataConfig
from trainers.data import Loading, Split, open_split
from trainers.preprocessing import preprocessing_of

if TYPE_CHECKING:
    from search.formats import Network
    from spvit.pruned_model import PrunedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleCertificate:
    """One schedule, measured. Top-1 in percent on the whole validation split, times for one batch.

    Attributes:
        blocks: before which it drops tokens.
        keep_rates: the cumulative rate of each.
        val_top1: of the exported weights under it.
        num_images: of the validation split.
        timing: beside the dense model.
    """

    blocks: tuple[int, ...]
    keep_rates: tuple[float, ...]
    val_top1: float
    num_images: int
    timing: FormatTiming

    def high_ms(self, dense_ms: float) -> float:
        """Upper end of its time: the worse of the wall's and of that beside a dense model which takes `dense_ms`."""
        return max(self.timing.ratio_high * dense_ms, self.timing.elapsed.high_ms)

    def exported(self, dense_ms: float) -> ExportedSchedule:
        """What is written beside the weights."""
        return ExportedSchedule(
            blocks=self.blocks,
            keep_rates=self.keep_rates,
            val_top1=self.val_top1,
            high_ms=self.high_ms(dense_ms),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote.

        Raises:
            KeyError, TypeError: the values are none.
        """
        return cls(
            blocks=tuple(values["blocks"]),
            keep_rates=tuple(values["keep_rates"]),
            val_top1=float(values["val_top1"]),
            num_images=int(values["num_images"]),
            timing=FormatTiming.from_dict(values["timing"]),
        )


@dataclass(frozen=True, kw_only=True)
class SeveralSchedules:
    """What is measured, and how.

    Attributes:
        model: serves every schedule, in evaluation mode.
        schedules: in any order.
        dense: the unpruned model.
        data: with the validation split.
        latency: device, runtime, threads, batch size and number format to time with.
        time_limit_s: bound on the timing.
    """

    model: PrunedModel
    schedules: Sequence[PruningSchedule]
    dense: Network
    data: DataConfig
    latency: LatencyConfig
    time_limit_s: float = 60.0


def measure_schedules(subject: SeveralSchedules, progress: Progress) -> tuple[tuple[ScheduleCertificate, ...], str]:
    """Run every schedule on the validation split, and time all of them side by side with the dense model.

    Returns:
        A certificate for each schedule, and the SHA-256 of the images and labels.

    Raises:
        ConfigError: the runtime is missing here.
        DataError: the validation split cannot be read.
    """
    from trainers.agreement import compare_answers

    check_runtime(subject.latency)
    preprocessing = preprocessing_of(subject.model.backbone)
    forms = {str(number): subject.model.at(schedule) for number, schedule in enumerate(subject.schedules)}
    progress(0.0, f"evaluating {len(forms)} schedules on {Split.VAL}")
    loading = Loading(batch_size=EVALUATION_BATCH_SIZE, training=False)
    batches = open_split(subject.data, Split.VAL, preprocessing, loading).epoch(0)
    answers = compare_answers(next(iter(forms.values())), forms, batches)
    progress(0.5, "timing the schedules side by side")
    timed = time_side_by_side(
        {DENSE: subject.dense, **forms}, preprocessing, subject.latency, time_limit_s=subject.time_limit_s
    )
    certificates = tuple(
        ScheduleCertificate(
            blocks=schedule.blocks,
            keep_rates=schedule.keep_rates,
            val_top1=answers.forms[name].top1,
            num_images=answers.forms[name].num_images,
            timing=FormatTiming.of({DENSE: timed[DENSE], PRUNED: timed[name]}),
        )
        for name, schedule in zip(forms, subject.schedules, strict=True)
    )
    return certificates, answers.data_sha256
