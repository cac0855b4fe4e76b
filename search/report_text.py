"""The final report as tables for a terminal, or as plain text elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from search.records import TrialState
from search.report import FinalReport
from search.report_files import FOLDER

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 110


def print_report(report: FinalReport, console: Console | None = None) -> None:
    """Print a report to a console, standard output by default; rich leaves colours out where it is no terminal."""
    from rich.console import Console

    console = console or Console()
    console.print(_models(report))
    if report.conclusion is not None:
        console.print(f"{report.conclusion}\n", markup=False)
    console.print(_front(report))
    for line in _lines(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def report_text(report: FinalReport) -> str:
    """The report as plain text without colours."""
    from rich.console import Console

    buffer = io.StringIO()
    print_report(report, Console(file=buffer, width=PLAIN_WIDTH, color_system=None, force_terminal=False))
    return buffer.getvalue().rstrip()


def _models(report: FinalReport) -> Table:
    title = f"Study {report.summary.name}"
    table = _table(
        title, "model", "val top-1 (%)", "test top-1 (%)", "predicted (ms)", "measured (ms)", "times as fast as dense"
    )
    for row in report.models:
        table.add_row(
            _plain(row.name),
            _number(row.val_top1, 2),
            _number(row.test_top1, 2),
            _number(row.predicted_ms, 3),
            _number(row.measured_ms, 3),
            _number(row.speed_up, 2),
        )
    return table


def _front(report: FinalReport) -> Table:
    table = _table("Pareto front, fastest first", "trial", "val top-1 (%)", "predicted (ms)", "keep rates")
    for row in report.front:
        name = f"{row.number} {row.label}".strip()
        rates = ", ".join(f"{rate:.3g}" for rate in row.keep_rates) or "dense"
        table.add_row(_plain(name), _number(row.top1, 2), _number(row.latency_ms, 3), rates)
    return table


def _lines(report: FinalReport) -> list[str]:
    summary = report.summary
    counts = summary.counts
    rejected = ", ".join(f"{count} {str(reason).replace('_', ' ')}" for reason, count in summary.rejections.items())
    ended = (
        f"{counts[TrialState.COMPLETE]} trained in full, {counts[TrialState.PRUNED]} stopped early, "
        f"{summary.num_interrupted} interrupted, {summary.num_failed} failed"
    )
    lines = [
        f"Trials     {ended}",
        f"Rejected   {rejected} (before any training)",
        f"Epochs     {summary.num_epochs_trained} trained, {summary.num_epochs_saved} saved by stopping early",
        *(f"Elastic    {sentence}" for sentence in report.elastic),
        f"Files      {report.directory}/{FOLDER}: pareto.html, pareto.png, trials.csv, summary.md",
    ]
    if report.export_directory is not None:
        lines.append(f"Model      {report.export_directory} (load it with spvit.load)")
    return [*lines, "Next", *(f"           {command}" for command in report.next_commands)]


def _table(title: str, first: str, *others: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _plain(text: str) -> str:
    """A label such as `fixed [.7, .49]` is not rich's markup."""
    from rich.markup import escape

    return escape(text)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
