"""Progress of one long step, on stderr: a bar on a terminal, a line per quarter elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

Progress = Callable[[float, str], None]
STEP_OF_PLAIN_LINES = 0.25


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Yields a function that is told the finished share (0 to 1) and what is being done."""
    if sys.stderr.isatty():
        with _bar(title) as report:
            yield report
    else:
        yield _plain_lines(title)


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    from search.console import LastingConsole

    columns = (TextColumn(title), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    console = LastingConsole(stderr=True)
    with RichProgress(*columns, TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def report(share: float, text: str) -> None:
            bar.update(task, completed=share, description=text)

        yield report


def _plain_lines(title: str) -> Progress:
    next_share = 0.0

    def report(share: float, text: str) -> None:
        nonlocal next_share
        if share < next_share:
            return
        next_share = share + STEP_OF_PLAIN_LINES
        with suppress(BrokenPipeError):  # nobody reads any more; the work itself goes on
            click.echo(f"{title}: {share:.0%} {text}".rstrip(), err=True)

    return report
