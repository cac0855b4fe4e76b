"""What an export was measured to be, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from latency_tables.key import DType, Runtime
from latency_tables.ratio import CONFIDENCE
from search.certificate import DENSE, Certificate, Verdict, elapsed_verdict, worse
from search.format_certificate import FormatCertificate
from search.formats import ExportFormat
from search.records import Latency
from spvit.options import TokenForm

EXPORTED, FIXED = "exported", "fixed schedule"
CERTIFICATE = "certificate.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What was exported and what was measured of it. `models` has `dense`, `exported` and perhaps `fixed schedule`.

    `predicted` is the latency table's word for `table_device`, in milliseconds for one batch of `batch_size` images;
    `dense_ms` is the dense model's time there, which ratios are multiplied with to compare with the budget. The models
    were measured on `device`, run by `runtime` in `dtype`; the table's are times of `table_runtime`. `training_form` is
    the form that the training ran; how the model ran when it was measured stands in its certificate.
    """

    study: str
    trial: int
    directory: str
    models: Mapping[str, Certificate]
    predicted: Latency
    dense_ms: float
    max_latency_ms: float
    verdict: Verdict
    searched_top1: float | None
    keep_rates: tuple[float, ...]
    num_parameters: int
    batch_size: int
    num_threads: int
    runtime: Runtime
    dtype: DType
    device: str
    table_device: str
    table_runtime: Runtime
    weights_sha256: str
    created_at: str
    training_form: TokenForm = TokenForm.GATHERED
    formats: tuple[FormatCertificate, ...] = ()
    file_sha256: Mapping[str, str] = field(default_factory=dict)
    data_sha256: str = ""
    code_sha256: str = ""
    table_sha256: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> Certificate:
        """The exported model's own certificate."""
        return self.models[EXPORTED]

    @property
    def is_on_target(self) -> bool:
        """Whether the device that the budget is for is the one that the models were measured on."""
        return self.verdict is not Verdict.NOT_ON_TARGET

    @property
    def latency_text(self) -> str:
        """What was measured beside what was predicted; of two devices where they are not the same."""
        measured, predicted = f"{self.measured.p50_ms:.3f} ms measured", f"{self.predicted.mean_ms:.3f} ms predicted"
        if self.is_on_target:
            return f"{measured}, {predicted}"
        return f"{predicted} for {self.target_text} and not measured there; {measured} here, on {self.here_text}"

    @property
    def target_text(self) -> str:
        """The device that the budget is for, and its runtime where models ran by another here."""
        return self._with_runtime(self.table_device, self.table_runtime)

    @property
    def here_text(self) -> str:
        """The device that was measured on, and its runtime where the budget is for another."""
        return self._with_runtime(self.device, self.runtime)

    def _with_runtime(self, device: str, runtime: Runtime) -> str:
        return device if self.runtime is self.table_runtime else f"{device} by {runtime}"

    @property
    def budget_text(self) -> str:
        """The budget, and whose it is where that is not the device that was measured on."""
        where = "" if self.is_on_target else f" on {self.target_text}"
        return f"{self.max_latency_ms:.3f} ms{where}"

    @property
    def conclusion(self) -> str:
        """Whether the budget is kept, in a sentence."""
        how = ", measured here" if self.is_on_target else ""
        return f"Budget {self.budget_text}{how}: {self.verdict}{self._why}."

    @property
    def _why(self) -> str:
        """Where the model is fast enough beside the dense one, and still not in time."""
        own = self.measured
        if not self.is_on_target or own.elapsed is None or self.verdict is Verdict.MET:
            return ""
        if own.ratio_high * self.dense_ms > self.max_latency_ms:
            return ""
        return (
            f" ({own.elapsed.p50_ms:.3f} ms passed where the table says {own.ratio * self.dense_ms:.3f} ms: this "
            "machine was slower or busier than when the table was measured)"
        )

    def format_verdict(self, certificate: FormatCertificate) -> Verdict:
        """Whether one exported file keeps the budget; what the table's runtime runs has to do so beside dense, too."""
        if not self._is_on_target(certificate):
            return Verdict.NOT_ON_TARGET
        by_wall = elapsed_verdict(certificate.timing.elapsed, self.max_latency_ms)
        return worse(by_wall, self.verdict) if certificate.format is ExportFormat.SAFETENSORS else by_wall

    def prediction_error_percent(self, certificate: FormatCertificate) -> float | None:
        """How much slower one file is than the table predicts, in percent; None on another device than the table's."""
        if not self._is_on_target(certificate):
            return None
        return 100.0 * (certificate.timing.elapsed.p50_ms / self.predicted.mean_ms - 1.0)

    def _is_on_target(self, certificate: FormatCertificate) -> bool:
        """Portable files are run on the CPU, whatever the budget is for; the weights, which come first, where it is."""
        return self.is_on_target and certificate.ran_on == self.formats[0].ran_on

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {
            "format": FORMAT,
            "verdict": str(self.verdict),
            "confidence": CONFIDENCE,
            "speed_up": self.measured.speed_up,
            "is_on_target": self.is_on_target,
            "formats": [self._format_dict(certificate) for certificate in self.formats],
        }

    def _format_dict(self, certificate: FormatCertificate) -> dict[str, Any]:
        return certificate.to_dict() | {
            "file": certificate.format.file,
            "verdict": str(self.format_verdict(certificate)),
            "prediction_error_percent": self.prediction_error_percent(certificate),
        }

    def to_text(self) -> str:
        """A few lines for a terminal."""
        own = self.measured
        dense = self.models[DENSE]
        top1 = f"{_percent(own.val_top1)} val, {_percent(own.test_top1)} test, from the exported file"
        dense_top1 = f"{_percent(dense.val_top1)} val, {_percent(dense.test_top1)} test"
        here = "" if self.is_on_target else " on this device"
        time = f"{own.ratio:.3f} of the dense model's{here} ({own.ratio_low:.3f} to {own.ratio_high:.3f})"
        speed = f"{own.speed_up:.2f} times as fast" if own.is_faster else "no speed-up beyond the noise"
        rates = " ".join(f"{rate:.3f}" for rate in self.keep_rates) or "none (dense)"
        lines = (
            f"exported   trial {self.trial} of study {self.study}, keep rates {rates}, to {self.directory}",
            f"top-1      {top1} (dense model: {dense_top1})",
            f"time       {time}: {speed}",
            f"form       {own.form}: top-1 and time alike; trained {self.training_form}",
            f"latency    {self.latency_text}",
            f"run by     {self.runtime} in {self.dtype}, batches of {self.batch_size}",
            f"budget     {self.budget_text}: {self.verdict}{self._why}",
            *(self._format_line(certificate) for certificate in self.formats),
            f"load it    spvit.load({self.directory!r}); README.md and {CERTIFICATE} there say more",
        )
        return "\n".join(lines)

    def _format_line(self, certificate: FormatCertificate) -> str:
        timing = certificate.timing
        return (
            f"file       {certificate.format.file}: {certificate.val_top1:.2f} %, logits within "
            f"{certificate.max_difference:.1e}, {timing.elapsed_text}, {timing.speed_up_text}; "
            f"budget {self.format_verdict(certificate)}"
        )


def _percent(top1: float | None) -> str:
    return "not known" if top1 is None else f"{top1:.2f} %"
