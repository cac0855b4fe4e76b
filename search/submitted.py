"""What a submitted job runs, on a machine of the cluster: `python -m search.submitted`, in the package's folder."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from search.cli import run
from search.job_package import INPUTS, JobOrder
from spvit.errors import SpvitError, StorageError

KEPT = "submitted"
ENTRYPOINT = "python -m search.submitted"
"""Ray gives it to a shell, so nothing of the user's is in it."""


def arguments_of(order: JobOrder, experiment: Path) -> list[str]:
    """The command line that an order stands for."""
    changes = [part for change in order.overrides for part in ("--set", change)]
    terms = ["--accept-change"] * order.accept_change + ["--takeover"] * order.takeover
    return ["launch", str(experiment), *changes, "--runs-dir", order.runs_dir, "--address", "auto", *terms]


def kept_inputs(package: Path, order: JobOrder) -> Path:
    """The experiment and its files in a folder that stays, the same one for the same files.

    Raises:
        StorageError: the folder of studies cannot be written.
    """
    target = Path(order.runs_dir) / KEPT / order.inputs_hash[:16]
    try:
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
                shutil.copytree(package / INPUTS, Path(temporary) / INPUTS)
                (Path(temporary) / INPUTS).replace(target)
    except OSError as error:
        if not target.is_dir():  # else another job brought the same
            raise StorageError(
                f"{target}: the experiment could not be kept there: {error.strerror}. Every machine of the cluster "
                f"must be able to write --runs-dir"
            ) from error
    return target / order.experiment


def main() -> None:
    """Runs the order that lies in the current folder, and ends with its exit code."""
    package = Path.cwd()
    order = JobOrder.read(package)
    try:
        experiment = kept_inputs(package, order)
    except SpvitError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(run(arguments_of(order, experiment)))


if __name__ == "__main__":
    main()
