"""A model run on the validation images in the form that was asked for: accuracy, tokens kept, and what to time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.config import ExperimentConfig
from search.form_request import FormRequest
from search.stage_counts import StageCounts, fixed_counts, stage_counts
from spvit.errors import UnsupportedModelError
from spvit.form_plans import image_plan, masked_plan
from spvit.options import TokenForm
from spvit.schedule import TokenPlan
from spvit.thresholds import Thresholds
from trainers.data_split import Split
from trainers.metrics import Evaluation
from trainers.preprocessing import preprocessing_of

if TYPE_CHECKING:
    from spvit.adaptive import AdaptiveViT
    from spvit.masked import MaskedViT
    from spvit.pruned_model import PrunedModel
    from trainers.data import Batches
    from trainers.plain_images import PlainImages

NUM_TIMED_IMAGES = 64

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class FormRun:
    """What came of it.

    Attributes:
        module: takes images and gives logits; what is to be timed.
        evaluation: on the validation images.
        stages: patches kept at each selector.
        plans: the token plans of the images, with the number of images of each.
        thresholds: of the adaptive form.
        timed_images: validation images to time on, where the time depends on them.
    """

    module: PrunedModel | MaskedViT | AdaptiveViT
    evaluation: Evaluation
    stages: tuple[StageCounts, ...]
    plans: Counter[TokenPlan]
    thresholds: Thresholds | None = None
    timed_images: PlainImages | None = None


def run_in_form(model: PrunedModel, experiment: ExperimentConfig, request: FormRequest, progress: Progress) -> FormRun:
    """Run a trained model on the validation images.

    Raises:
        UnsupportedModelError: its backbone has no adaptive form.
        DataError: the validation split, or for the adaptive form the training split, cannot be read.
    """
    if request.form is TokenForm.ADAPTIVE:
        return _run_adaptive(model, experiment, request, progress)
    return _run_fixed(model, experiment, request.form, progress)


def _run_fixed(model: PrunedModel, experiment: ExperimentConfig, form: TokenForm, progress: Progress) -> FormRun:
    from spvit.masked import MaskedViT
    from trainers.evaluate import evaluate

    progress(0.0, "accuracy")
    module = MaskedViT(model) if form is TokenForm.MASKED else model
    plan = masked_plan(model.plan, model.geometry) if form is TokenForm.MASKED else model.plan
    batches = _open_val(model, experiment)
    evaluation = evaluate(module, batches.epoch(0), device=_device(experiment), form=form)
    return FormRun(
        module=module,
        evaluation=evaluation,
        stages=fixed_counts(model.plan, model.geometry, evaluation.num_images),
        plans=Counter({plan: evaluation.num_images}),
    )


def _run_adaptive(
    model: PrunedModel, experiment: ExperimentConfig, request: FormRequest, progress: Progress
) -> FormRun:
    from trainers.evaluate import evaluate_adaptive

    module = _adaptive(model, experiment, request, progress)
    progress(0.6, "accuracy")
    evaluation, num_kept = evaluate_adaptive(module, _open_val(model, experiment).epoch(0), device=_device(experiment))
    kept = Counter(map(tuple, num_kept.tolist()))
    geometry, package = model.geometry, module.model.layout.package_mode
    return FormRun(
        module=module,
        evaluation=evaluation,
        stages=stage_counts(model.plan, geometry, num_kept),
        plans=Counter(
            {image_plan(model.plan, counts, geometry=geometry, package=package): n for counts, n in kept.items()}
        ),
        thresholds=module.thresholds,
        timed_images=_timed_images(model, experiment),
    )


def _adaptive(
    model: PrunedModel, experiment: ExperimentConfig, request: FormRequest, progress: Progress
) -> AdaptiveViT:
    from spvit.adaptive import AdaptiveViT
    from spvit.model import PrunedViT
    from trainers.plain_images import PlainImages
    from trainers.thresholds import calibrate_thresholds

    if not isinstance(model, PrunedViT):
        raise UnsupportedModelError(
            f"--form adaptive needs a plain vision transformer, but {experiment.model.name} pools its patches on the "
            "way. Evaluate it with --form gathered or masked."
        )
    progress(0.0, "calibrating thresholds on training images")
    images = PlainImages(
        experiment.data,
        Split.TRAIN,
        preprocessing_of(model.backbone),
        num_images=request.num_calibration_images,
        batch_size=experiment.training.batch_size,
        device=_device(experiment),
    )
    model.to(_device(experiment))
    thresholds = calibrate_thresholds(
        model, images, on_stage=lambda share: progress(0.6 * share, "calibrating thresholds on training images")
    )
    return AdaptiveViT(model, thresholds, serving=request.serving, bucket=request.bucket)


def _timed_images(model: PrunedModel, experiment: ExperimentConfig) -> PlainImages:
    from trainers.plain_images import PlainImages

    batch_size = experiment.latency.batch_size
    return PlainImages(
        experiment.data,
        Split.VAL,
        preprocessing_of(model.backbone),
        num_images=-(-NUM_TIMED_IMAGES // batch_size) * batch_size,
        batch_size=batch_size,
    )


def _open_val(model: PrunedModel, experiment: ExperimentConfig) -> Batches:
    from trainers.data import Loading, open_split

    device = _device(experiment)
    model.to(device)
    loading = Loading(batch_size=experiment.training.batch_size, training=False, device=device)
    return open_split(experiment.data, Split.VAL, preprocessing_of(model.backbone), loading)


def _device(experiment: ExperimentConfig) -> str:
    from trainers.workers import resolve_device

    return str(resolve_device(experiment.training.device))
