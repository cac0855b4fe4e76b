"""`spvit-search check`: whether an export keeps what its certificate promises."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import POSITIVE, epilog, json_option
from search.commands.output import emit
from search.commands.progress import progress_bar
from spvit.errors import DataError, ExitCode, UsageError

EPILOG = epilog("spvit-search check runs/demo/export/best", "usage", "config", "data", "broken")


@click.command("check", epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Where the data is now, if not where it was.")
@click.option("--max-latency-ms", type=POSITIVE, help="Another budget, which then counts on any device.")
@click.option("--time-limit-s", type=POSITIVE, default=60.0, show_default=True, help="Bound on the timing of a file.")
@json_option
def command(
    *, folder: Path, data: Path | None, max_latency_ms: float | None, time_limit_s: float, as_json: bool
) -> int:
    """Measure an exported folder anew, here and now, and say pass or fail line by line.

    Files, labels and data are compared with their hashes; every file is run on the whole validation split and timed
    beside the dense model. Speed-up and budget are promises of the device that the model was exported on alone.
    """
    from search.check_request import CheckRequest
    from search.checking import check_export

    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; name one that `spvit-search export` wrote")
    if data is not None and not data.exists():
        raise DataError(f"--data {data}: there is no such file or folder; say where the validation images are now")
    request = CheckRequest(folder=folder, data=data, max_latency_ms=max_latency_ms, time_limit_s=time_limit_s)
    with progress_bar("checking") as progress:
        report = check_export(request, progress)
    emit(report.to_dict(), report.to_text, as_json=as_json)
    return ExitCode.OK if report.is_passed else ExitCode.BROKEN_PROMISE
