"""`spvit-search`: the command line. Knows the commands by name only, so that `--help` answers at once."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
from typing_extensions import override

from search.secrets import redacted
from search.signals import as_interrupt
from spvit.errors import ExitCode, SpvitError
from spvit.wording import first_line

MAX_MESSAGE_LINES = 10
COMMANDS = {
    "run": "Profile, search, export the best model and report: the whole way.",
    "profile": "Measure what the model's blocks cost on this device.",
    "table": "Show, check, compare or import latency tables.",
    "plan": "Say what a search would reach and cost, before any training.",
    "launch": "Search for the best pruning under the latency budget.",
    "submit": "Run a search as a job of a Ray cluster.",
    "resume": "Continue a study that was stopped or interrupted.",
    "extend": "Give a study more trials, or longer ones.",
    "status": "Say how far a study is.",
    "pareto": "List the best trade-offs between accuracy and latency, and choose one.",
    "show": "Show one trial: curve, tokens per stage, latency, why it ended.",
    "compare": "Compare two trials, with the noise of what is compared.",
    "report": "Write a study's report as it stands: front, growth, importances, slices.",
    "trials": "List every trial of a study.",
    "clean": "Remove the checkpoints that a study does not need any more.",
    "record": "Write a study as a table for searches to be replayed on.",
    "simulate": "Replay searches on a recorded study, in simulated time, and compare them.",
    "retarget": "Take a study to another device: its best trials there, and which more would pay.",
    "verify": "Check that a study lost nothing, repeated nothing and left nothing behind.",
    "finish": "Train a search's best configurations on, to full length.",
    "export": "Write one trial's model to a folder, measured and checked.",
    "check": "Measure an export anew, and say line by line whether it keeps its promise.",
    "dashboard": "Open a study in MLflow's browser interface.",
    "fine-tune": "Train the one schedule that an experiment names.",
    "progressive": "The paper's own strategy, to compare the search with.",
    "backbones": "List which models can be pruned, and which not.",
    "evaluate": "Accuracy, cost and measured latency of one model.",
}


class LazyGroup(click.Group):
    """A group whose commands are modules of `search.commands`, imported when they are called."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which one needs them."""
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"search.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version() -> str:
    try:
        return version("spvit-search")
    except PackageNotFoundError:
        return "unknown (not installed)"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command has its own --help with an example and its exit codes, and takes --json.",
)
@click.version_option(_version(), prog_name="spvit-search")
def cli() -> None:
    """Find the token-pruning schedule of a Vision Transformer that is most accurate within a latency budget.

    Start with:  spvit-search run experiments/demo.toml
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with a documented exit code (docs/exit_codes.md)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with as_interrupt(signal.SIGTERM):
        code = run(arguments)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line. Errors are told on stderr, or with `--json` as a document on stdout.

    Returns:
        The exit code.
    """
    as_json = "--json" in arguments
    try:
        result = cli.main(args=list(arguments), prog_name="spvit-search", standalone_mode=False)
    except SpvitError as error:
        return _fail(type(error).__name__, str(error), error.exit_code, as_json=as_json)
    except click.ClickException as error:
        return _fail("UsageError", _usage_text(error), ExitCode.USAGE, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return _fail("StoppedError", "stopped on request", ExitCode.STOPPED, as_json=as_json)
    except Exception as error:  # the last line of defence: nobody should have to read a traceback
        return _fail(type(error).__name__, _bug_text(error), ExitCode.BUG, as_json=as_json)
    return result if isinstance(result, int) else ExitCode.OK


def _fail(name: str, message: str, code: int, *, as_json: bool) -> int:
    message = redacted(message)
    if as_json:
        document: Mapping[str, Any] = {"error": {"type": name, "message": message, "exit_code": int(code)}}
        click.echo(json.dumps(document))
    else:
        click.echo(_shortened(f"error: {message}"), err=True)
    return int(code)


def _shortened(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(lines if len(lines) <= MAX_MESSAGE_LINES else [*lines[: MAX_MESSAGE_LINES - 1], "..."])


def _usage_text(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f"\nTry: {context.command_path} --help" if context else ""
    return f"{error.format_message()}{hint}"


def _bug_text(error: Exception) -> str:
    return f"unexpected {type(error).__name__}: {first_line(error)}. This is a defect; {_kept_details(error)}"


def _kept_details(error: Exception) -> str:
    text = redacted("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="spvit-search-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(text)
    except OSError as refused:  # a full disk may be what the defect is about
        return f"the details could not be kept ({refused}): {' | '.join(text.splitlines()[-3:])}"
    return f"the details are in {log.name}"


if __name__ == "__main__":
    main()
