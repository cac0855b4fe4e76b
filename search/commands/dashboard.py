"""`spvit-search dashboard`: MLflow's or Optuna's browser interface on this machine."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import webbrowser
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path

import click

from search.commands.local_server import (
    HOST,
    ServerCommand,
    free_port,
    is_loopback,
    local_server,
)
from search.commands.options import epilog, existing_study, json_option, optional_study_argument, runs_dir_option
from search.commands.output import emit
from search.records import StudyRecord
from search.signals import as_interrupt
from search.study_files import read_study_file, sqlite_url
from search.tracking_database import ARTIFACTS_FOLDER, sqlite_path
from spvit.errors import StorageError, UsageError
from spvit.wording import install_hint

ENDING = (signal.SIGTERM, signal.SIGINT)
"""What ends a server in order: it is in a process group of its own, which would outlive us."""
# The job runner serves none of what we show, and takes 4 of the 5 seconds that a server needs to start and 1.3 GB.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}

Server = AbstractContextManager[tuple[subprocess.Popen[bytes], str]]


@click.command("dashboard", epilog=epilog("spvit-search dashboard demo", "usage", "storage"))
@optional_study_argument
@click.option("--trial", type=click.IntRange(min=0), help="Open this trial's page.")
@click.option("--optuna", is_flag=True, help="Open Optuna's dashboard instead, to look at only.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on; a free one if not given.")
@click.option(
    "--listen",
    default=HOST,
    show_default=True,
    metavar="ADDRESS",
    help="Interface to listen on. Any but this machine's own opens the studies to whoever can reach it.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@runs_dir_option
@json_option
def command(
    *,
    study: str | None,
    trial: int | None,
    optuna: bool,
    port: int | None,
    listen: str,
    runs_dir: Path,
    no_browser: bool,
    as_json: bool,
) -> None:
    """Open a study (or all of them) in MLflow's browser interface until Ctrl-C; works while it is running.

    The server listens on 127.0.0.1 only unless told otherwise; from elsewhere, forward the port through SSH. A study
    that is tracked on a server of yours is opened there. --optuna needs the package optuna-dashboard.
    """
    if study is None and (optuna or trial is not None):
        raise UsageError(f"{'--optuna' if optuna else '--trial'} needs a study: spvit-search dashboard STUDY ...")
    if optuna and study is not None:
        server, fragment = _optuna_server(
            existing_study(runs_dir, study), trial, port or free_port(listen), listen=listen
        )
    else:
        uri, fragment = _tracked_at(runs_dir, study, trial)
        if uri.startswith(("http://", "https://")):
            _announce(f"{uri.rstrip('/')}/{fragment}", no_browser=no_browser, as_json=as_json)
            return
        server = mlflow_server(uri, port or free_port(listen), host=listen)
    with contextlib.suppress(KeyboardInterrupt), as_interrupt(*ENDING), server as (process, base):
        _warn_if_open(listen, base, runs_dir)
        _announce(f"{base}/{fragment}", no_browser=no_browser, as_json=as_json)
        click.echo("Ctrl-C ends it.", err=True)
        process.wait()
        raise StorageError(f"the server at {base} ended by itself (exit code {process.returncode}); start it again")


def mlflow_server(uri: str, port: int, *, host: str = HOST) -> Server:
    """An MLflow server; see `local_server`.

    What is uploaded through it, such as by hand, goes beside the database, where studies keep their files: MLflow's own
    choice is the folder that the command happens to be called in.
    """
    arguments = ["--host", host, "--port", str(port), "--workers", "1"]
    if (database := sqlite_path(uri)) is not None:
        arguments += ["--artifacts-destination", (database.resolve().parent / ARTIFACTS_FOLDER).as_uri()]
    command = ServerCommand(
        name="MLflow",
        arguments=[sys.executable, "-m", "mlflow", "server", *arguments],
        reads=uri,
        health="/health",
        environment=ENVIRONMENT | {"MLFLOW_BACKEND_STORE_URI": uri},
        host=host,
    )
    return local_server(command, port)


def optuna_server(folder: Path, port: int, *, host: str = HOST) -> Server:
    """Optuna's dashboard on a study, which it cannot change; see `local_server`.

    Raises:
        UsageError: optuna-dashboard is not installed.
    """
    if find_spec("optuna_dashboard") is None:
        raise UsageError(f"--optuna needs the package optuna-dashboard: {install_hint('dashboard')}")
    command = ServerCommand(
        name="optuna-dashboard",
        arguments=[sys.executable, "-m", "search.optuna_page", str(folder), host, str(port)],
        reads=f"the study in {folder}",
        health="/api/meta",
        host=host,
    )
    return local_server(command, port)


def _warn_if_open(host: str, base: str, runs_dir: Path) -> None:
    if is_loopback(host):
        return
    click.echo(
        f"warning: whoever can reach {base} can read, change and delete every study tracked in {runs_dir}: "
        f"MLflow asks for no password. Safer: leave out --listen and forward the port, "
        f"`ssh -L {base.rpartition(':')[2]}:{HOST}:{base.rpartition(':')[2]} THIS_HOST`",
        err=True,
    )


def _tracked_at(runs_dir: Path, study: str | None, trial: int | None) -> tuple[str, str]:
    """The tracking URI and the part of the address that leads to the study or the trial."""
    from search.tracking_place import default_tracking_uri

    if study is None:
        database = (runs_dir / "mlflow.db").resolve()
        if not database.is_file():
            raise UsageError(f"Nothing was tracked in {runs_dir} yet: {database} does not exist. Start a search first.")
        return default_tracking_uri(runs_dir), ""
    from search.study import read_study

    record = read_study(existing_study(runs_dir, study))
    uri = record.experiment.get("tracking", {}).get("uri") or default_tracking_uri(runs_dir)
    return uri, _mlflow_fragment(record, trial)


def _mlflow_fragment(study: StudyRecord, trial: int | None) -> str:
    from search.tracking_view import experiment_fragment
    from search.trial_detail import trial_detail

    if trial is None:
        return experiment_fragment(study.mlflow_experiment_id) if study.mlflow_experiment_id else ""
    fragment = trial_detail(study, trial).mlflow_fragment
    if not fragment:
        raise UsageError(f"trial {trial} of study {study.name!r} is not in MLflow; leave out --trial")
    return fragment


def _optuna_server(folder: Path, trial: int | None, port: int, *, listen: str) -> tuple[Server, str]:
    from search.selection import find_trial
    from search.storage import load
    from search.study import read_study

    file = read_study_file(folder)
    record = read_study(folder)  # says what is wrong with it before a server is started
    study_id = load(file.name, file.storage or sqlite_url(folder))._study_id
    chosen = "" if trial is None else f"/trials?numbers={find_trial(record, trial).number}"
    return optuna_server(folder, port, host=listen), f"dashboard/studies/{study_id}{chosen}"


def _announce(address: str, *, no_browser: bool, as_json: bool) -> None:
    emit({"address": address}, lambda: address, as_json=as_json)
    if not no_browser:
        webbrowser.open(address)
