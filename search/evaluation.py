"""Accuracy, cost and measured latency of one model, beside the dense model that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.certificate import DENSE, time_side_by_side
from search.config import ExperimentConfig
from search.experiment import load_experiment
from trainers.metrics import Evaluation
from trainers.preprocessing import preprocessing_of

if TYPE_CHECKING:
    from spvit.model import PrunedViT

EXPORTED_EXPERIMENT = "config.toml"
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelReport:
    """What `evaluate` finds. `ratio` is the pruned model's time over the dense one's, with its 90 % interval."""

    source: str
    evaluation: Evaluation
    block_tokens: tuple[int, ...]
    gmacs: float
    dense_gmacs: float
    batch_size: int
    latency_ms: float
    dense_latency_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """The same for a reader."""
        result = self.evaluation
        return "\n".join(
            [
                f"model     {self.source}",
                (
                    f"accuracy  top-1 {result.top1:.2f} %, top-5 {result.top5:.2f} %, loss {result.loss:.4f} "
                    f"on {result.num_images} validation images"
                ),
                f"tokens    {' '.join(str(count) for count in self.block_tokens)} (entering each block)",
                f"cost      {self.gmacs:.3f} GMACs an image (dense: {self.dense_gmacs:.3f})",
                (
                    f"latency   {self.latency_ms:.3f} ms for a batch of {self.batch_size} "
                    f"(dense: {self.dense_latency_ms:.3f} ms), measured here side by side"
                ),
                (
                    f"ratio     {self.ratio:.3f} of the dense model's time (90 % interval {self.ratio_low:.3f} "
                    f"to {self.ratio_high:.3f})"
                ),
            ]
        )


def evaluate_experiment(experiment: ExperimentConfig, folder: Path, progress: Progress) -> ModelReport:
    """Evaluates the schedule of an experiment, with the weights of its `fine-tune` run as far as that went.

    Checkpoints are only read: those of other settings stay where they are.

    Raises:
        SpvitError: model, weights or data are wrong.
    """
    from search.model_facts import trial_of
    from trainers.build import build_model, identity_of
    from trainers.checkpoint import latest_checkpoint

    trial = trial_of(experiment)
    model = build_model(trial)
    saved = latest_checkpoint(folder / "fine_tune", identity=identity_of(trial), is_owner=False)
    if saved is not None:
        model.load_state_dict(saved.weights())
    num_epochs = 0 if saved is None else saved.step
    source = f"{experiment.study.name}, after {num_epochs} of {experiment.training.epochs} epochs of fine-tuning"
    return _report(model, experiment, source, progress)


def evaluate_export(directory: Path, progress: Progress) -> ModelReport:
    """Evaluates an exported model from its folder alone.

    Raises:
        SpvitError: the folder is no export or damaged, or the data that it names is missing.
    """
    from spvit.exported import load_exported

    model = load_exported(directory)
    return _report(model, load_experiment(directory / EXPORTED_EXPERIMENT), str(directory), progress)


def _report(model: PrunedViT, experiment: ExperimentConfig, source: str, progress: Progress) -> ModelReport:
    model.eval().requires_grad_(False)
    progress(0.1, "accuracy")
    evaluation = _evaluate(model, experiment)
    progress(0.5, "latency")
    timed = time_side_by_side(
        {DENSE: model.backbone, "pruned": model},
        preprocessing_of(model.backbone),
        experiment.latency,
        on_round=lambda share: progress(0.5 + 0.5 * share, "latency"),
    )
    pruned, dense = timed["pruned"], timed[DENSE]
    return ModelReport(
        source=source,
        evaluation=evaluation,
        block_tokens=model.plan.block_tokens,
        gmacs=_gmacs(model, experiment, is_dense=False),
        dense_gmacs=_gmacs(model, experiment, is_dense=True),
        batch_size=experiment.latency.batch_size,
        latency_ms=pruned.p50_ms,
        dense_latency_ms=dense.p50_ms,
        ratio=pruned.ratio.median,
        ratio_low=pruned.ratio.low,
        ratio_high=pruned.ratio.high,
    )


def _evaluate(model: PrunedViT, experiment: ExperimentConfig) -> Evaluation:
    from trainers.data import Loading, Split, open_split
    from trainers.evaluate import evaluate
    from trainers.workers import resolve_device

    device = resolve_device(experiment.training.device)
    loading = Loading(batch_size=experiment.training.batch_size, training=False, device=str(device))
    batches = open_split(experiment.data, Split.VAL, preprocessing_of(model.backbone), loading)
    return evaluate(model.to(device), batches.epoch(0), device=device)


def _gmacs(model: PrunedViT, experiment: ExperimentConfig, *, is_dense: bool) -> float:
    from latency_tables.parts import shape_of
    from spvit.macs import ModelWidths, count_macs
    from spvit.schedule import PruningSchedule

    shape, patch = shape_of(model.backbone), model.backbone.patch_embed
    widths = ModelWidths(
        dim=shape.embed_dim,
        num_heads=shape.num_heads,
        mlp_ratio=shape.mlp_ratio,
        patch_size=int(patch.patch_size[0]),
        in_chans=shape.num_patch_inputs // int(patch.patch_size[0]) ** 2,
        num_classes=shape.num_classes,
        num_prefix_tokens=shape.num_prefix_tokens,
        selector=experiment.pruning.selector,
        weighting=experiment.pruning.head_weighting,
    )
    plan = PruningSchedule().plan(shape.geometry) if is_dense else model.plan
    return count_macs(plan, widths, num_patches=shape.num_patches) / 1e9
