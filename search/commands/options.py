"""Arguments and options that several commands share, and the study folder that they name."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from search.config import ExperimentConfig
from search.formats import ExportFormat, available_formats, formats_named
from search.ray_token import INSECURE
from search.storage_url import check_storage_url
from search.study_config import STUDY_NAME
from search.study_files import STUDY_FILE
from spvit.errors import UsageError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
MAX_NAMES_SHOWN = 8
STORAGE_KEY = "spvit.storage"

ALWAYS = ("0 ok", "1 a defect (the log file is named)")
EXIT_CODES = {
    "usage": "2 wrong command line",
    "config": "3 experiment file wrong",
    "table": "4 latency table missing, stale or of another device",
    "data": "5 images or labels wrong",
    "locked": "6 another driver runs this study",
    "mismatch": "7 study was made from another experiment",
    "storage": "8 study or files cannot be read or written",
    "cluster": "9 Ray cannot be started or reached, or has other versions",
    "failures": "10 too many trials failed",
    "feasible": "11 nothing meets the budget",
    "violated": "12 an invariant is violated",
    "broken": "13 the export does not do what its certificate says",
    "stopped": "75 stopped on request, can be resumed",
}


class FiniteRange(click.FloatRange):
    """A number within a range that is neither `nan`, which click's own ranges let through, nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error where it is none or outside."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


ADDRESS = re.compile(r"auto|(ray://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}")
POSITIVE = FiniteRange(min=0, min_open=True)
POSITIVE_SHARE = FiniteRange(min=0, min_open=True, max=1)


def epilog(example: str, *codes: str) -> str:
    """The end of a command's help: an example that can be copied, and the exit codes that it can end with."""
    lines = sorted([*ALWAYS, *(EXIT_CODES[code] for code in codes)], key=lambda line: int(line.split()[0]))
    return f"\b\nExample:\n  {example}\n\n\b\nExit codes:\n" + "\n".join(f"  {line}" for line in lines)


def experiment_argument(function: Decorated) -> Decorated:
    """EXPERIMENT, the path of a TOML file."""
    return click.argument("experiment", type=click.Path(path_type=Path))(function)


def set_option(function: Decorated) -> Decorated:
    """`--set key=value`, any number of times."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a key of the experiment, or take it away (KEY=); repeatable.",
    )(function)


def study_argument(function: Decorated) -> Decorated:
    """STUDY, a name under --runs-dir, or in the database that `--storage` names."""
    return click.argument("study", callback=_checked_name)(_storage_option(function))


def optional_study_argument(function: Decorated) -> Decorated:
    """[STUDY], or every study under --runs-dir."""
    return click.argument("study", required=False, callback=_checked_name)(_storage_option(function))


def _storage_option(function: Decorated) -> Decorated:
    """`--storage`, for a study whose folder is on another host."""
    return click.option(
        "--storage",
        metavar="URL",
        expose_value=False,
        callback=_kept_storage,
        help="Database that holds the study, where its folder is on another host: postgresql://USER@HOST/DATABASE.",
    )(function)


def runs_dir_option(function: Decorated) -> Decorated:
    """`--runs-dir`, for commands that name a study."""
    return click.option(
        "--runs-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        envvar="SPVIT_RUNS_DIR",
        show_default=True,
        show_envvar=True,
        help="Folder that holds the studies.",
    )(function)


def experiment_runs_dir_option(function: Decorated) -> Decorated:
    """`--runs-dir`, for commands that read an experiment, whose own `study.directory` is the default."""
    return click.option(
        "--runs-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        envvar="SPVIT_RUNS_DIR",
        show_envvar=True,
        help="Folder that holds the studies, instead of the experiment's study.directory.",
    )(function)


def json_option(function: Decorated) -> Decorated:
    """`--json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout; progress goes to stderr."
    )(function)


def csv_option(function: Decorated) -> Decorated:
    """`--csv`."""
    return click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values on stdout.")(function)


def evaluate_option(function: Decorated) -> Decorated:
    """`--evaluate`, of the commands that choose a trial."""
    return click.option(
        "--evaluate",
        is_flag=True,
        help="Compare candidates image by image, from their checkpoints.",
    )(function)


def format_option(function: Decorated) -> Decorated:
    """`--format`, any number of times, and `--no-register`."""
    register = click.option(
        "--no-register", is_flag=True, help="Do not put the model into MLflow's registry, which takes its ONNX file."
    )
    formats = click.option(
        "--format",
        "formats",
        type=click.Choice([format_.value for format_ in ExportFormat]),
        multiple=True,
        help="What to write; repeatable. Weights always are.  [all whose packages are installed]",
    )
    return formats(register(function))


def chosen_formats(names: tuple[str, ...]) -> tuple[ExportFormat, ...]:
    """The formats that `--format` named, or all that can be written here."""
    return formats_named(names) or available_formats()


def address_option(function: Decorated) -> Decorated:
    """`--address` of a running Ray cluster, and `--insecure-cluster` for one that asks for no token."""
    address = click.option(
        "--address",
        default=None,
        callback=_checked_address,
        metavar="ADDRESS",
        help="Use this running Ray cluster instead of this machine: HOST:PORT, ray://HOST:PORT, or auto on one of its "
        "machines.",
    )
    return address(insecure_option(function))


def insecure_option(function: Decorated) -> Decorated:
    """`--insecure-cluster`, kept in the environment so that whatever connects to a cluster knows of it."""
    return click.option(
        "--insecure-cluster",
        is_flag=True,
        expose_value=False,
        callback=_note_insecure,
        envvar=INSECURE,
        help="Use a Ray cluster without a token: everybody who reaches it may run code there.",
    )(function)


def opening_options(function: Decorated) -> Decorated:
    """`--accept-change` and `--takeover`, for commands that go on with a study."""
    function = click.option(
        "--accept-change", is_flag=True, help="Go on although experiment, table, packages or code changed."
    )(function)
    return click.option(
        "--takeover", is_flag=True, help="Go on although another driver holds the study; it is shut out."
    )(function)


def read_experiment(path: Path, overrides: tuple[str, ...] = (), runs_dir: Path | None = None) -> ExperimentConfig:
    """The experiment with the command line's changes, and what the files tell that it names."""
    from search.complete_experiment import complete_experiment
    from search.experiment import load_experiment

    return complete_experiment(load_experiment(path, overrides), runs_dir)


def study_folder(experiment: ExperimentConfig) -> Path:
    """Where everything of an experiment's study is kept."""
    return experiment.study.directory / experiment.study.name


def existing_study(runs_dir: Path, name: str) -> Path:
    """The folder of a study that exists.

    Raises:
        UsageError: there is none of this name; names those that there are.
        StorageError: it is in a database (`--storage`) that cannot be read.
    """
    folder = (runs_dir / name).absolute()
    if (folder / STUDY_FILE).is_file():
        return folder
    if url := _given_storage():
        from search.attaching import attach_study

        return attach_study(folder, url)
    names = study_names(runs_dir)
    known = f"studies there: {', '.join(names[:MAX_NAMES_SHOWN])}" if names else "there is no study there yet"
    raise UsageError(f"no study {name!r} in {runs_dir}: {known}. Another folder: --runs-dir")


def study_names(runs_dir: Path) -> list[str]:
    """The studies under a folder, by name."""
    if not runs_dir.is_dir():
        return []
    return sorted(folder.name for folder in runs_dir.iterdir() if (folder / STUDY_FILE).is_file())


def _kept_storage(context: click.Context, _parameter: click.Parameter, url: str | None) -> None:
    """Kept beside the parameters, as only `existing_study` needs it."""
    if url is None:
        return
    try:
        check_storage_url(url)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    context.meta[STORAGE_KEY] = url


def _given_storage() -> str | None:
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(STORAGE_KEY)


def _checked_name(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    if name is None or STUDY_NAME.fullmatch(name):
        return name
    raise click.BadParameter(
        f"a study's name has letters, digits, `.`, `_`, `-` and starts with a letter or digit, but got {name!r}"
    )


def _checked_address(_context: click.Context, _parameter: click.Parameter, address: str | None) -> str | None:
    if address is None or address == "local":
        return None
    if ADDRESS.fullmatch(address):
        return address
    if address.startswith(("http://", "https://")):
        raise click.BadParameter(
            f"{address} is where a cluster takes jobs: `spvit-search submit EXPERIMENT --address {address}` runs the "
            f"search there"
        )
    raise click.BadParameter(f"HOST:PORT, ray://HOST:PORT, auto or local was required, but got {address!r}")


def _note_insecure(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ[INSECURE] = "1"
