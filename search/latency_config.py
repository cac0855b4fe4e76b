"""`[latency]` of an experiment file: which table counts, how it is measured and what the budget is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from search.latency_options import OnDrift, TargetDevice
from trainers.frozen_config import FrozenConfig, OpenShare, Positive

Number = TypeVar("Number")
DenseShare = Annotated[float, Field(gt=0.0, le=1.0)]
ONE, SEVERAL = BUDGET_FORMS = ("one", "several")


def _form_of(value: Any) -> str:
    """Which form its author meant, so that only that form's complaints are heard."""
    return SEVERAL if isinstance(value, list | tuple) else ONE


OneOrSeveral = Annotated[
    Annotated[Number, Tag(ONE)] | Annotated[tuple[Number, ...], Tag(SEVERAL)],
    Discriminator(_form_of),
]


class LatencyConfig(FrozenConfig):
    """Which latency table counts and what the budget is."""

    table: Path | None = Field(
        default=None, description="A measured table; `profile` writes one in the study's folder."
    )
    batch_size: int = Field(default=1, ge=1, description="Images per forward pass when measuring.")
    num_threads: int = Field(default=1, ge=1)
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    runtime: Literal["eager", "compiled", "onnxruntime", "cuda_graph"] = Field(
        default="eager", description="What executes the model: when profiling, exporting and evaluating."
    )
    time_limit_s: Positive = Field(
        default=45.0,
        description="Wall time of profiling. Compiling and exporting comes on top; everything is sampled three times "
        "at least, which takes longer on a very busy machine.",
    )
    precision_percent: Annotated[float, Field(gt=0.0, lt=100.0)] = Field(
        default=2.0, description="Half of a row's 90 % interval at which it is repeated no more."
    )
    max_latency_ms: OneOrSeveral[Positive] | None = Field(
        default=None,
        description="Budget for a batch. Of several the search keeps to the largest and names the best trial within "
        "each.",
    )
    max_latency_share: OneOrSeveral[DenseShare] | None = Field(
        default=None, description="Budget, or several, as shares of the dense model's latency."
    )
    target: TargetDevice = Field(
        default=TargetDevice.THIS_DEVICE,
        description="Whose latencies count: another device's table is refused unless it is meant.",
    )
    on_drift: OnDrift = Field(
        default=OnDrift.RESCALE,
        description="What to do where this device is no longer as fast as its table says when a search begins.",
    )
    drift_tolerance: OpenShare = Field(
        default=0.15, description="A drift that is surely larger than this is acted on: 0.15 is 15 % of the time."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.max_latency_ms is not None and self.max_latency_share is not None:
            raise ValueError(
                "give max_latency_ms or max_latency_share, not both; `--set latency.max_latency_share=` takes one away"
            )
        return self

    @field_validator("max_latency_ms", "max_latency_share")
    @classmethod
    def _different(cls, budgets: float | tuple[float, ...] | None) -> float | tuple[float, ...] | None:
        if isinstance(budgets, tuple) and len(set(budgets)) < max(len(budgets), 1):
            raise ValueError(f"one budget or more, all different, were required, but got {list(budgets)}")
        return budgets

    @model_validator(mode="after")
    def _runtime_fits(self) -> Self:
        on_gpu = self.device.startswith("cuda")
        if self.runtime == "onnxruntime" and self.dtype != "float32":
            raise ValueError(
                f'runtime = "onnxruntime" runs in dtype = "float32" only (it has no bfloat16 kernels for CPUs), '
                f'but got dtype = "{self.dtype}"; runtime = "eager" or "compiled" run it'
            )
        if self.runtime == "onnxruntime" and on_gpu:
            raise ValueError(f'runtime = "onnxruntime" runs on device = "cpu" only, but got device = "{self.device}"')
        if self.runtime == "cuda_graph" and not on_gpu:
            raise ValueError(f'runtime = "cuda_graph" needs a GPU, device = "cuda", but got device = "{self.device}"')
        return self
