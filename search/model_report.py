"""What `evaluate` finds out about one model, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latency_tables.key import DType, Runtime
from search.stage_counts import StageCounts
from spvit.options import Serving, TokenForm
from spvit.schedule import TokenPlan
from spvit.thresholds import Thresholds
from trainers.metrics import Evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveServing:
    """What belongs to the adaptive form alone. `bucket` counts where images are served in buckets."""

    serving: Serving
    bucket: int
    thresholds: Thresholds

    def to_text(self) -> str:
        """Some words for a reader."""
        how = f"served in buckets of {self.bucket}" if self.serving is Serving.BUCKETED else "served padded"
        calibration = self.thresholds.calibration
        return how if calibration is None else f"{how}, calibrated on {calibration.num_images} training images"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelReport:
    """One model in one form, beside the dense model that it was made from.

    Attributes:
        source: which model, in words.
        evaluation: on the validation images, with the form that ran.
        training_form: the form that its training ran.
        stages: patches kept at each selector, with their distribution over images.
        block_tokens: tokens that enter each block, the mean over images.
        gmacs: of an image, the mean over images, without padding.
        dense_gmacs: of the dense model.
        batch_size: of the timing.
        runtime: what executed both models when they were timed.
        dtype: number format of the timing.
        latency_ms: median time of a batch; in the adaptive form of validation images.
        dense_latency_ms: the dense model's.
        ratio: the model's time over the dense one's, with its 90 % interval.
        ratio_low: see `ratio`.
        ratio_high: see `ratio`.
        adaptive: how the adaptive form was served; None for other forms.
    """

    source: str
    evaluation: Evaluation
    training_form: TokenForm
    stages: tuple[StageCounts, ...]
    block_tokens: tuple[float, ...]
    gmacs: float
    dense_gmacs: float
    batch_size: int
    runtime: Runtime
    dtype: DType
    latency_ms: float
    dense_latency_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    adaptive: AdaptiveServing | None = None

    @property
    def form(self) -> TokenForm:
        """How the model ran, for accuracy and time alike."""
        return self.evaluation.form

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"form": self.form.value}

    def to_text(self) -> str:
        """The same for a reader."""
        result = self.evaluation
        serving = "" if self.adaptive is None else f", {self.adaptive.to_text()}"
        images = " of validation images" if self.adaptive else ""
        lines = [
            f"model     {self.source}",
            f"form      {self.form}{serving}; trained {self.training_form}",
            (
                f"accuracy  top-1 {result.top1:.2f} %, top-5 {result.top5:.2f} %, loss {result.loss:.4f} "
                f"on {result.num_images} validation images"
            ),
            *[f"kept      {_stage_line(stage)}" for stage in self.stages],
            f"tokens    {' '.join(f'{count:.4g}' for count in self.block_tokens)} (entering each block)",
            f"cost      {self.gmacs:.3f} GMACs an image (dense: {self.dense_gmacs:.3f})",
            (
                f"latency   {self.latency_ms:.3f} ms for a batch of {self.batch_size}{images} "
                f"(dense: {self.dense_latency_ms:.3f} ms), measured here side by side"
            ),
            f"run by    {self.runtime} in {self.dtype}",
            (
                f"ratio     {self.ratio:.3f} of the dense model's time (90 % interval {self.ratio_low:.3f} "
                f"to {self.ratio_high:.3f})"
            ),
        ]
        return "\n".join(lines)


def _stage_line(stage: StageCounts) -> str:
    place = f"of {stage.num_patches} patches before block {stage.block}"
    if stage.p10 == stage.p90:
        return f"{stage.mean:.4g} {place}"
    return f"{stage.mean:.4g} (p10 {stage.p10}, p90 {stage.p90}) {place}; the schedule says {stage.target}"


def mean_block_tokens(plans: Mapping[TokenPlan, int]) -> tuple[float, ...]:
    """Tokens that enter each block, the mean over plans with so many images each."""
    num_images = sum(plans.values())
    weighted = ([count * number for count in plan.block_tokens] for plan, number in plans.items())
    return tuple(sum(block) / num_images for block in zip(*weighted, strict=True))
