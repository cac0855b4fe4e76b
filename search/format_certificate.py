"""What every exported file does here and now: its answers beside the model's, and its time beside the dense model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_tables.elapsed import ElapsedTime
from search.certificate import DENSE, EVALUATION_BATCH_SIZE, Progress, time_functions
from search.formats import ExportFormat, Model, Network, in_format, load_format
from search.latency_config import LatencyConfig
from trainers.config import DataConfig
from trainers.data import Loading, Split, open_split
from trainers.preprocessing import Preprocessing

if TYPE_CHECKING:
    from latency_tables.timing import Comparison
    from trainers.agreement import Agreements

MAX_DIFFERENCE = 1e-4
"""Of a logit in float32: what other orders of the same sums come to, and far below what moves an answer."""
PROBE_BATCH_SIZES = (1, 5)
NUM_PROBES = 10
PRUNED = "pruned"


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatTiming:
    """Time of one batch on the wall, and over the dense model's that was run in between, with a 90 % interval."""

    elapsed: ElapsedTime
    dense_elapsed: ElapsedTime
    ratio: float
    ratio_low: float
    ratio_high: float

    @classmethod
    def of(cls, timed: Mapping[str, Comparison]) -> FormatTiming:
        """From a comparison of `pruned` with `dense`."""
        ratio = timed[PRUNED].ratio
        return cls(
            elapsed=timed[PRUNED].elapsed,
            dense_elapsed=timed[DENSE].elapsed,
            ratio=ratio.median,
            ratio_low=ratio.low,
            ratio_high=ratio.high,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FormatTiming:
        """Of plain JSON values.

        Raises:
            KeyError, TypeError: the values are none.
        """
        times = {key: ElapsedTime(**values[key]) for key in ("elapsed", "dense_elapsed")}
        return cls(**{**values, **times})

    @property
    def speed_up(self) -> float | None:
        """How many times as fast as the dense model; None where that lies within the noise and is not claimed."""
        return 1.0 / self.ratio if self.ratio_high < 1.0 else None

    @property
    def speed_up_text(self) -> str:
        """The same for a reader, with its interval."""
        interval = f"{1 / self.ratio_high:.2f} to {1 / self.ratio_low:.2f}"
        if self.speed_up is None:
            return f"no speed-up beyond the noise ({interval})"
        return f"{self.speed_up:.2f} times as fast as dense ({interval})"

    @property
    def elapsed_text(self) -> str:
        """The time on the wall for a reader."""
        time = self.elapsed
        return f"{time.p50_ms:.3f} ms ({time.low_ms:.3f} to {time.high_ms:.3f}), p95 {time.p95_ms:.3f} ms"


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatCertificate:
    """One exported file, measured. Top-1 in percent on the whole validation split, times for one batch.

    Attributes:
        format: what it is.
        runtime: what ran it.
        ran_on: the torch device; portable files are run on the CPU.
        val_top1: from this very file.
        num_images: of the validation split.
        num_other_answers: images that it classifies otherwise than the model that was trained.
        max_difference: largest difference of a logit to that model, on all images and in batches of 1 and 5.
        timing: beside the dense model in the same runtime.
    """

    format: ExportFormat
    runtime: str
    ran_on: str
    val_top1: float
    num_images: int
    num_other_answers: int
    max_difference: float
    timing: FormatTiming

    @property
    def agrees(self) -> bool:
        """Whether it gives the model's answers."""
        return self.max_difference <= MAX_DIFFERENCE

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"format": str(self.format), "speed_up": self.timing.speed_up}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FormatCertificate:
        """What `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: the values are none.
        """
        known = {key: value for key, value in values.items() if key != "speed_up"}
        timing = FormatTiming.from_dict(values["timing"])
        return cls(**known | {"format": ExportFormat(values["format"]), "timing": timing})


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured, and how.

    Attributes:
        folder: the export.
        formats: its files that are to be run; the weights among them.
        model: what the weights were loaded into.
        trained: the model that every file should agree with.
        dense: the unpruned model.
        time_native: of the weights, in the runtime that the latency is for.
    """

    folder: Path
    formats: Sequence[ExportFormat]
    model: Model
    trained: Model
    dense: Network
    preprocessing: Preprocessing
    data: DataConfig
    latency: LatencyConfig
    time_native: Callable[[], FormatTiming]
    time_limit_s: float = 60.0


def measure_formats(subject: Subject, progress: Progress) -> tuple[tuple[FormatCertificate, ...], str]:
    """Run every file on the validation split and time it beside the dense model in the same runtime.

    Returns:
        One certificate for each format, and the SHA-256 of the images and labels.

    Raises:
        CheckpointError, DataError, ConfigError, UnsupportedModelError: what their names say.
    """
    progress(0.0, "loading the exported files")
    forms = {format_: _load(subject, format_) for format_ in subject.formats}
    progress(0.1, f"evaluating {', '.join(subject.formats)} on {Split.VAL}")
    agreements = _agreements(subject, forms)
    probes = _probes(subject)
    certificates = []
    for number, (format_, form) in enumerate(forms.items()):
        progress(0.5 + 0.5 * number / len(forms), f"timing {format_} beside the dense model")
        differences = _differences(subject, form, probes)
        timing = _time(subject, format_, form)
        certificates.append(_certificate(subject.latency, format_, agreements, differences, timing))
    return tuple(certificates), agreements.data_sha256


def _load(subject: Subject, format_: ExportFormat) -> Model:
    if format_ is ExportFormat.SAFETENSORS:
        return subject.model
    return load_format(subject.folder, format_, num_threads=subject.latency.num_threads)


def _agreements(subject: Subject, forms: Mapping[ExportFormat, Model]) -> Agreements:
    from trainers.agreement import compare_answers

    portable = {str(format_): form for format_, form in forms.items() if format_.is_portable}
    loading = Loading(batch_size=EVALUATION_BATCH_SIZE, training=False)
    batches = open_split(subject.data, Split.VAL, subject.preprocessing, loading)
    return compare_answers(subject.model, portable, batches.epoch(0))


def _probes(subject: Subject) -> Any:
    loading = Loading(batch_size=NUM_PROBES, training=False)
    images, _ = next(iter(open_split(subject.data, Split.VAL, subject.preprocessing, loading).epoch(0)))
    return images


def _time(subject: Subject, format_: ExportFormat, form: Model) -> FormatTiming:
    if format_ is ExportFormat.SAFETENSORS:
        return subject.time_native()
    dense = in_format(subject.dense, subject.preprocessing, format_, num_threads=subject.latency.num_threads)
    models = {DENSE: dense, PRUNED: form}
    timed = time_functions(models, subject.preprocessing, subject.latency, time_limit_s=subject.time_limit_s)
    return FormatTiming.of(timed)


def _differences(subject: Subject, form: Model, probes: Any) -> list[float]:
    from trainers.agreement import largest_difference

    return [largest_difference(subject.trained, form, probes, batch_size=size) for size in PROBE_BATCH_SIZES]


def _certificate(
    latency: LatencyConfig,
    format_: ExportFormat,
    agreements: Agreements,
    differences: Sequence[float],
    timing: FormatTiming,
) -> FormatCertificate:
    own = agreements.forms.get(str(format_), agreements.model)
    return FormatCertificate(
        format=format_,
        runtime=_runtime(format_, latency),
        ran_on="cpu" if format_.is_portable else latency.device,
        val_top1=own.top1,
        num_images=own.num_images,
        num_other_answers=own.num_other_answers,
        max_difference=max(own.max_difference, *differences),
        timing=timing,
    )


def _runtime(format_: ExportFormat, latency: LatencyConfig) -> str:
    match format_:
        case ExportFormat.ONNX:
            return "onnxruntime"
        case ExportFormat.TORCH_EXPORT:
            return "torch.export"
        case ExportFormat.SAFETENSORS:
            return str(latency.runtime)
