"""What an export was measured to be, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search.certificate import Certificate, Verdict
from search.records import Latency

EXPORTED, FIXED = "exported", "fixed schedule"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What was exported and what was measured of it. `models` has `dense`, `exported` and perhaps `fixed schedule`.

    `predicted` is the latency table's word, in milliseconds for one batch of `batch_size` images; `dense_ms` is the
    dense model's time that ratios are multiplied with to compare with the budget.
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
    device: str
    table_device: str
    weights_sha256: str
    created_at: str

    @property
    def measured(self) -> Certificate:
        """The exported model's own certificate."""
        return self.models[EXPORTED]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"verdict": str(self.verdict), "speed_up": self.measured.speed_up}
