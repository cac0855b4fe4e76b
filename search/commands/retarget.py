"""`spvit-search retarget`: a study's trials on another device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.options import (
    POSITIVE,
    POSITIVE_SHARE,
    epilog,
    existing_study,
    json_option,
    runs_dir_option,
    study_argument,
)
from search.commands.output import emit
from spvit.errors import NothingFeasibleError, UsageError

if TYPE_CHECKING:
    from search.records import StudyRecord
    from search.retarget_files import Written
    from search.retargeting import DeviceReport

MAX_TABLES = 26
NUM_FURTHER = 3
EPILOG = epilog(
    "spvit-search retarget demo --table phone.json --max-latency-ms 30",
    *("usage", "config", "table", "storage", "feasible"),
)


@click.command("retarget", epilog=EPILOG)
@study_argument
@click.option(
    "--table",
    "tables",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Latency table of the other device; repeatable, for several devices side by side.",
)
@click.option("--max-latency-ms", type=POSITIVE, help="The budget there, for a batch.")
@click.option(
    "--max-latency-share",
    type=POSITIVE_SHARE,
    help="The budget as a share of the dense model's latency there; the share that the study had if neither is given.",
)
@click.option(
    "--suggest",
    "num_further",
    type=click.IntRange(min=0, max=50),
    default=NUM_FURTHER,
    show_default=True,
    help="Look for up to so many further trials that would pay there.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="New folder for the front as CSV, picture and page, and an experiment for each further trial.",
)
@runs_dir_option
@json_option
def command(
    *,
    study: str,
    tables: tuple[Path, ...],
    max_latency_ms: float | None,
    max_latency_share: float | None,
    num_further: int,
    output: Path | None,
    runs_dir: Path,
    as_json: bool,
) -> int | None:
    """Say which trials of a study are best on another device, and which further ones would pay. Trains nothing.

    Accuracy does not depend on the device, so its latency table is all that is needed. Works while the study is
    running, and writes nothing without --output.
    """
    if max_latency_ms is not None and max_latency_share is not None:
        raise UsageError("--max-latency-ms and --max-latency-share were both given; one of them says the budget.")
    if len(tables) > MAX_TABLES:
        raise UsageError(f"at most {MAX_TABLES} tables can be compared at once, but {len(tables)} were given.")
    from search.retarget import AskedBudget
    from search.retarget_files import check_output
    from search.retargeting import retarget_study
    from search.study import read_study

    if output is not None:
        check_output(output)
    record = read_study(existing_study(runs_dir, study))
    asked = AskedBudget(max_latency_ms=max_latency_ms, max_latency_share=max_latency_share)
    return _tell(record, retarget_study(record, tables, asked=asked, num_further=num_further), output, as_json=as_json)


def _tell(study: StudyRecord, reports: list[DeviceReport], output: Path | None, *, as_json: bool) -> int | None:
    """Prints everything even where nothing is within a budget: further trials may be."""
    from search.commands.retarget_text import retarget_text
    from search.retarget_document import retarget_document
    from search.retarget_files import Written, write_retargeted

    written = Written() if output is None else write_retargeted(reports, output)
    document = retarget_document(study, reports) | {"files": written.files, "commands": written.commands}
    for lost in dict.fromkeys(report.lost_weights for report in reports if output is not None and report.lost_weights):
        click.echo(f"warning: {lost}", err=True)
    error = _nothing_feasible(reports)
    if error is not None:
        document["error"] = {"type": type(error).__name__, "message": str(error), "exit_code": int(error.exit_code)}
    emit(document, lambda: retarget_text(study, reports) + _train(written, reports), as_json=as_json)
    if error is not None and not as_json:
        raise error
    return None if error is None else int(error.exit_code)


def _nothing_feasible(reports: list[DeviceReport]) -> NothingFeasibleError | None:
    problems = [report.nothing_within for report in reports if report.nothing_within]
    return NothingFeasibleError("; ".join(problems)) if problems else None


def _train(written: Written, reports: list[DeviceReport]) -> str:
    if written.commands:
        return "\ntrain        " + "\n             ".join(written.commands)
    if any(report.further.trials for report in reports):
        return "\ntrain        with --output FOLDER an experiment for each is written: spvit-search fine-tune FILE"
    return ""
