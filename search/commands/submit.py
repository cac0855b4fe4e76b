"""`spvit-search submit`: a search as a job of a Ray cluster."""

from __future__ import annotations

import ipaddress
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from search.commands.options import (
    epilog,
    experiment_argument,
    insecure_option,
    json_option,
    opening_options,
    set_option,
)
from search.commands.output import emit
from search.commands.searching import SEARCH_CODES
from spvit.errors import ExitCode, StoppedError

if TYPE_CHECKING:
    from search.job import JobEnd

JOBS_ADDRESS = re.compile(r"https?://[^/@\s]+/?")


def _checked_address(_context: click.Context, _parameter: click.Parameter, address: str) -> str:
    if not JOBS_ADDRESS.fullmatch(address):
        raise click.BadParameter(f"http://HOST:PORT of the cluster's dashboard was required, but got {address!r}")
    return address.rstrip("/")


@click.command(
    "submit",
    epilog=epilog(
        "spvit-search submit experiments/demo.toml --address http://head:8265 --runs-dir /shared/runs",
        "config",
        *SEARCH_CODES,
    ),
)
@experiment_argument
@set_option
@click.option(
    "--address",
    required=True,
    envvar="RAY_API_SERVER_ADDRESS",
    callback=_checked_address,
    metavar="URL",
    help="Where the cluster takes jobs: its dashboard, http://HEAD:8265.",
)
@insecure_option
@click.option(
    "--runs-dir",
    type=click.Path(path_type=Path),
    default=None,
    envvar="SPVIT_RUNS_DIR",
    show_envvar=True,
    help="Folder on the cluster that holds the studies, absolute; the experiment's study.directory if not given.",
)
@click.option(
    "--include",
    "includes",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A file or folder of your own that the job is to have; repeatable.",
)
@click.option("--wait/--no-wait", default=True, help="Show the job's log and end as it ends, or return at once.")
@opening_options
@json_option
def command(
    experiment: Path,
    overrides: tuple[str, ...],
    address: str,
    runs_dir: Path | None,
    includes: tuple[Path, ...],
    *,
    wait: bool,
    accept_change: bool,
    takeover: bool,
    as_json: bool,
) -> None:
    """Run `launch` on a Ray cluster: this code, the experiment and the files it names relatively go along.

    What the experiment names by an absolute path, every machine of the cluster must have. Submitting the same
    experiment again goes on with its study. Ctrl-C only stops waiting; the job goes on.
    """
    from search.experiment import load_experiment
    from search.job import ClusterJobs
    from search.job_package import pack

    config = load_experiment(experiment, overrides)
    _warn_if_readable(address)
    with tempfile.TemporaryDirectory(prefix="spvit-job-") as folder:
        pack(
            experiment,
            overrides,
            runs_dir or config.study.directory,
            includes=includes,
            into=Path(folder),
            accept_change=accept_change,
            takeover=takeover,
        )
        jobs = ClusterJobs(address)
        job = jobs.submit(config.study.name, Path(folder))
    if not wait:
        emit({"job": job, "address": address}, lambda: f"submitted {job} to {address}", as_json=as_json)
        return
    click.echo(f"submitted {job} to {address}; Ctrl-C stops waiting, not the job", err=True)
    _end(_followed(jobs.follow, job, as_json=as_json), as_json=as_json)


def _followed(follow: Callable[[str, Callable[[str], None]], JobEnd], job: str, *, as_json: bool) -> JobEnd:
    try:
        return follow(job, lambda text: click.echo(text, nl=False, err=as_json))
    except KeyboardInterrupt:
        raise StoppedError(f"stopped waiting; job {job} goes on. Stop it: `ray job stop {job}`") from None


def _end(end: JobEnd, *, as_json: bool) -> None:
    emit(asdict(end), lambda: f"job {end.job} {end.status.lower()}; exit code {end.exit_code}", as_json=as_json)
    if end.exit_code != ExitCode.OK:
        raise click.exceptions.Exit(end.exit_code)


def _warn_if_readable(address: str) -> None:
    """A token sent over plain HTTP can be read by whoever carries it."""
    parts = urlsplit(address)
    if parts.scheme == "https" or parts.hostname in {None, "localhost"} or _is_loopback(parts.hostname or ""):
        return
    click.echo(
        f"warning: Ray's token goes to {address} unencrypted. Forward the port instead: "
        f"ssh -L {parts.port or 80}:localhost:{parts.port or 80} {parts.hostname}",
        err=True,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
