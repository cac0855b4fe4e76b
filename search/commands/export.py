"""`spvit-search export`: one trial's model in a folder, measured and checked."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.choice_text import choice_document, taken_lines
from search.commands.comparing import comparing
from search.commands.options import (
    POSITIVE,
    POSITIVE_SHARE,
    chosen_formats,
    epilog,
    evaluate_option,
    existing_study,
    format_option,
    json_option,
    runs_dir_option,
    study_argument,
)
from search.commands.output import emit
from search.commands.progress import progress_bar
from spvit.errors import UsageError

EPILOG = epilog(
    "spvit-search export demo --max-latency-ms 12 --output my-model", "usage", "table", "data", "storage", "feasible"
)


@click.command("export", epilog=EPILOG)
@study_argument
@click.option("--trial", "number", type=click.IntRange(min=0), help="This trial, by its number.")
@click.option("--max-latency-ms", type=POSITIVE, help="The trial that `pareto --max-latency-ms` takes.")
@click.option("--max-latency-share", type=POSITIVE_SHARE, help="The same as a share of the dense model's latency.")
@evaluate_option
@click.option(
    "--schedules",
    type=click.IntRange(min=1),
    help="Elastic weights with so many schedules over the range of latencies, as weights alone, not registered.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write; runs/STUDY/export/trial_N if absent.")
@click.option("--force", is_flag=True, help="Replace an export that is there.")
@format_option
@runs_dir_option
@json_option
def command(
    *,
    study: str,
    number: int | None,
    max_latency_ms: float | None,
    max_latency_share: float | None,
    evaluate: bool,
    schedules: int | None,
    output: Path | None,
    runs_dir: Path,
    force: bool,
    formats: tuple[str, ...],
    no_register: bool,
    as_json: bool,
) -> None:
    """Write the best model within the study's largest budget (or the one asked for) to a folder.

    Of trials that the validation images cannot tell apart it is the fastest, as `pareto` says; --trial names another.
    Every written file is evaluated again and timed here side by side with the dense model. The folder holds weights,
    all that is needed to build the model, the same as ONNX and as a program of torch.export, an experiment file of its
    schedule, and a certificate, which `spvit-search check` compares with what it measures anew. MLflow's registry gets
    the model too.
    """
    latencies = {"--max-latency-ms": max_latency_ms, "--max-latency-share": max_latency_share}
    chosen = [name for name, value in {"--trial": number, **latencies}.items() if value is not None]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} were both given; one of them says which model to export.")
    if evaluate and (number is not None or schedules is not None):
        raise UsageError("--evaluate compares what may be chosen: there is no choice with --trial or --schedules.")
    if schedules is not None:
        _check_elastic_options(has_latency=any(latencies.values()), has_model_options=bool(formats) or no_register)
        _export_elastic(study, runs_dir, number, schedules, output, force=force, as_json=as_json)
        return
    from search.choosing import choose_to_take
    from search.exporting import export_trial, register
    from search.study import read_study

    folder = existing_study(runs_dir, study)
    record = read_study(folder)
    if max_latency_share is not None:
        max_latency_ms = max_latency_share * record.dense_latency.mean_ms
    with comparing(record, evaluate=evaluate) as compare:
        choice = choose_to_take(record, compare, number=number, max_latency_ms=max_latency_ms)
    with progress_bar("exporting") as progress:
        report = export_trial(
            record,
            folder,
            choice.trial,
            max_latency_ms=max_latency_ms,
            output=output,
            force=force,
            formats=chosen_formats(formats),
            progress=progress,
        )
    registration = None if no_register else register(record, report)
    registered = [] if registration is None else [registration]
    emit(
        report.to_dict()
        | {"registration": registration and registration.to_dict(), "choice": choice_document(choice, record)},
        lambda: "\n".join(
            [*taken_lines(choice, record, "export"), report.to_text(), *(one.to_text() for one in registered)]
        ),
        as_json=as_json,
    )


def _check_elastic_options(*, has_latency: bool, has_model_options: bool) -> None:
    if has_latency:
        raise UsageError("--schedules covers the range of latencies: a single latency cannot be given with it.")
    if has_model_options:
        raise UsageError("--schedules writes weights alone and registers nothing: leave out --format, --no-register.")


def _export_elastic(
    study: str,
    runs_dir: Path,
    number: int | None,
    num_schedules: int,
    output: Path | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from latency_tables.table import LatencyTable
    from search.export_elastic import elastic_trial_of, export_elastic
    from search.exporting import table_path
    from search.study import read_study

    folder = existing_study(runs_dir, study)
    record = read_study(folder)
    chosen = elastic_trial_of(record, number).number
    with progress_bar("exporting") as progress:
        report = export_elastic(
            record,
            (output or folder / "export" / f"elastic_{chosen}").absolute(),
            table=LatencyTable.load(table_path(record, folder)),
            num_schedules=num_schedules,
            number=chosen,
            force=force,
            progress=progress,
        )
    emit(report.to_dict(), report.to_text, as_json=as_json)
