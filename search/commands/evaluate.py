"""`spvit-search evaluate`: accuracy, cost and measured latency of one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from search.commands.options import (
    epilog,
    experiment_runs_dir_option,
    json_option,
    read_experiment,
    set_option,
    study_folder,
)
from search.commands.output import emit
from search.commands.progress import progress_bar
from search.form_request import BUCKET, NUM_CALIBRATION_IMAGES, FormRequest
from spvit.errors import UsageError
from spvit.options import Serving, TokenForm

EPILOG = epilog("spvit-search evaluate runs/demo/export/best", "usage", "config", "data", "storage")


@click.command("evaluate", epilog=EPILOG)
@click.argument("experiment_or_export", type=click.Path(path_type=Path))
@click.option(
    "--form",
    type=click.Choice([form.value for form in TokenForm]),
    default=TokenForm.GATHERED.value,
    show_default=True,
    help="How the model runs: every image keeps the schedule's counts, all tokens stay but are hidden, or every image "
    "keeps what reaches thresholds that are calibrated first, on training images.",
)
@click.option(
    "--serving",
    type=click.Choice([serving.value for serving in Serving]),
    default=None,
    help="Adaptive: pad a batch to its longest image (the default), or group images that keep about as many.",
)
@click.option(
    "--bucket",
    type=click.IntRange(min=1),
    default=None,
    help=f"Adaptive: counts that share a bucket.  [{BUCKET}]",
)
@click.option(
    "--calibration-images",
    type=click.IntRange(min=1),
    default=None,
    help=f"Adaptive: training images that thresholds are calibrated on.  [{NUM_CALIBRATION_IMAGES}]",
)
@set_option
@experiment_runs_dir_option
@json_option
def command(
    *,
    experiment_or_export: Path,
    form: str,
    serving: str | None,
    bucket: int | None,
    calibration_images: int | None,
    overrides: tuple[str, ...],
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """Evaluate an exported folder, or the schedule of an experiment file as far as it was fine-tuned.

    Tells top-1, top-5 and loss on the validation images, the tokens kept at each selector, multiply-accumulates, and
    the time of a batch measured here side by side with the dense model.
    """
    from search.evaluation import evaluate_experiment, evaluate_export

    request = _request(TokenForm(form), serving=serving, bucket=bucket, num_calibration_images=calibration_images)
    if not experiment_or_export.exists() and experiment_or_export.suffix != ".toml":
        raise UsageError(_no_such(experiment_or_export))
    if experiment_or_export.is_dir():
        if overrides:
            raise UsageError("--set changes an experiment file; an exported folder is evaluated as it is.")
        with progress_bar("evaluating") as progress:
            report = evaluate_export(experiment_or_export, progress, request)
    else:
        config = read_experiment(experiment_or_export, overrides, runs_dir)
        with progress_bar("evaluating") as progress:
            report = evaluate_experiment(config, study_folder(config), progress, request)
    emit(report.to_dict(), report.to_text, as_json=as_json)


def _no_such(path: Path) -> str:
    beside = sorted(found.parent.name for found in path.parent.glob("*/model.safetensors"))
    there = f" In {path.parent}: {', '.join(beside[:5])}." if beside else ""
    return f"{path}: a folder written by `spvit-search export`, or an experiment file (.toml), was required.{there}"


def _request(form: TokenForm, **options: str | int | None) -> FormRequest:
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if given and form is not TokenForm.ADAPTIVE:
        raise UsageError(
            f"--serving, --bucket and --calibration-images are for --form adaptive, but the form is {form}."
        )
    if "serving" in given:
        given["serving"] = Serving(given["serving"])
    return FormRequest(form=form, **given)
