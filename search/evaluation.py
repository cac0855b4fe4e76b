"""Accuracy, cost and measured latency of one model, beside the dense model that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.key import DType, Runtime
from search.certificate import DENSE, check_runtime, time_side_by_side
from search.config import ExperimentConfig
from search.experiment import load_experiment
from search.form_request import FormRequest
from search.form_run import FormRun, run_in_form
from search.model_cost import dense_gmacs, mean_gmacs
from search.model_report import AdaptiveServing, ModelReport, mean_block_tokens
from spvit.options import TokenForm
from trainers.preprocessing import preprocessing_of

if TYPE_CHECKING:
    from latency_tables.timing import Comparison
    from spvit.pruned_model import PrunedModel

EXPORTED_EXPERIMENT = "config.toml"
PRUNED = "pruned"
Progress = Callable[[float, str], None]


def evaluate_experiment(
    experiment: ExperimentConfig, folder: Path, progress: Progress, request: FormRequest | None = None
) -> ModelReport:
    """Evaluates the schedule of an experiment, with the weights of its `fine-tune` run as far as that went.

    Checkpoints are only read: those of other settings stay where they are.

    Args:
        experiment: names model, data and schedule.
        folder: the study's.
        progress: told the finished share and what is being done.
        request: how the model is to be run; gathered where absent.

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
    return _report(model, experiment, source, progress, request or FormRequest())


def evaluate_export(directory: Path, progress: Progress, request: FormRequest | None = None) -> ModelReport:
    """Evaluates an exported model from its folder alone, with the data that its experiment names.

    The adaptive form is timed eagerly whatever the experiment's runtime is, as no other can run it.

    Args:
        directory: the exported folder.
        progress: told the finished share and what is being done.
        request: how the model is to be run; gathered where absent.

    Raises:
        SpvitError: the folder is no export or damaged, or the data that it names is missing.
    """
    from spvit.exported import load_exported

    model = load_exported(directory)
    experiment = load_experiment(directory / EXPORTED_EXPERIMENT)
    runtime, request, source = Runtime(experiment.latency.runtime), request or FormRequest(), str(directory)
    if request.form is TokenForm.ADAPTIVE and runtime is not Runtime.EAGER:
        source = f"{directory}, timed eagerly: {runtime} takes no models whose token counts depend on the image"
        latency = experiment.latency.model_copy(update={"runtime": Runtime.EAGER.value})
        experiment = experiment.model_copy(update={"latency": latency})
    return _report(model, experiment, source, progress, request)


def _report(
    model: PrunedModel, experiment: ExperimentConfig, source: str, progress: Progress, request: FormRequest
) -> ModelReport:
    check_runtime(experiment.latency, is_adaptive=request.form is TokenForm.ADAPTIVE)
    model.eval().requires_grad_(requires_grad=False)
    run = run_in_form(model, experiment, request, lambda share, text: progress(0.5 * share, text))
    timed = _time(model, run, experiment, progress)
    pruned, dense = timed[PRUNED], timed[DENSE]
    return ModelReport(
        source=source,
        evaluation=run.evaluation,
        training_form=experiment.training.form,
        stages=run.stages,
        block_tokens=mean_block_tokens(run.plans),
        gmacs=mean_gmacs(model, experiment, run.plans),
        dense_gmacs=dense_gmacs(model, experiment),
        batch_size=experiment.latency.batch_size,
        runtime=Runtime(experiment.latency.runtime),
        dtype=DType(experiment.latency.dtype),
        latency_ms=pruned.p50_ms,
        dense_latency_ms=dense.p50_ms,
        ratio=pruned.ratio.median,
        ratio_low=pruned.ratio.low,
        ratio_high=pruned.ratio.high,
        adaptive=_serving(run, request),
    )


def _time(model: PrunedModel, run: FormRun, experiment: ExperimentConfig, progress: Progress) -> dict[str, Comparison]:
    progress(0.5, "latency")
    timed = time_side_by_side(
        {DENSE: model.backbone, PRUNED: run.module},
        preprocessing_of(model.backbone),
        experiment.latency,
        images=run.timed_images,
        on_round=lambda share: progress(0.5 + 0.5 * share, "latency"),
    )
    return dict(timed)


def _serving(run: FormRun, request: FormRequest) -> AdaptiveServing | None:
    if run.thresholds is None:
        return None
    return AdaptiveServing(serving=request.serving, bucket=request.bucket, thresholds=run.thresholds)
