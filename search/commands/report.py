"""`spvit-search report`: what a study found so far, as files."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import epilog, existing_study, json_option, runs_dir_option, study_argument
from search.commands.output import emit


@click.command("report", epilog=epilog("spvit-search report demo", "usage", "storage"))
@study_argument
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to; `report` in the study's folder if not given.",
)
@runs_dir_option
@json_option
def command(study: str, output: Path | None, runs_dir: Path, *, as_json: bool) -> None:
    """Write a study's report as it stands; it may still be running.

    The page shows the front, how it grew over trials, epochs and time, which parameters made a difference, and each
    parameter by itself. What cannot be told yet says what is missing.
    """
    from search.report_files import FOLDER
    from search.study import read_study
    from search.study_report import study_note, write_study_files
    from spvit.errors import StorageError

    record = read_study(existing_study(runs_dir, study))
    folder = Path(record.directory) / FOLDER if output is None else output
    try:
        paths = write_study_files(record, folder)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{folder}: the report cannot be written: {reason}; free space or give --output") from error
    text = f"{study_note(record)}\n" + "\n".join(map(str, paths))
    emit({"study": study, "files": [str(path) for path in paths]}, lambda: text, as_json=as_json)
