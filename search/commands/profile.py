"""`spvit-search profile`: what the model's blocks cost on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.commands.options import (
    epilog,
    experiment_argument,
    experiment_runs_dir_option,
    json_option,
    read_experiment,
    set_option,
    study_folder,
)
from search.commands.output import columns, emit
from search.commands.progress import progress_bar

if TYPE_CHECKING:
    from latency_tables.curves import Curve
    from latency_tables.table import LatencyTable


@click.command(
    "profile", epilog=epilog("spvit-search profile experiments/demo.toml", "config", "usage", "table", "storage")
)
@experiment_argument
@set_option
@experiment_runs_dir_option
@json_option
def command(experiment: Path, overrides: tuple[str, ...], runs_dir: Path | None, *, as_json: bool) -> None:
    """Measure what one block of the model costs at several numbers of tokens, here and now.

    The latency table prices every schedule before it is trained. It is written to the study's folder, with a picture
    and a page, and holds for this device, batch size, number format, runtime and number of threads only. Let nothing
    else run meanwhile.
    """
    from latency_tables.health import table_warnings
    from search.inputs import check_space
    from search.profiling import PAGE_FILE, PLOT_FILE, measure_study_table
    from search.table_files import TABLE_FILE

    config = read_experiment(experiment, overrides, runs_dir)
    folder = study_folder(config)
    check_space(config)
    if (folder / TABLE_FILE).exists():
        click.echo(f"warning: the latency table that is there is measured anew: {folder / TABLE_FILE}", err=True)
    with progress_bar("measuring") as progress:
        table = measure_study_table(config, folder, progress=progress)
    document = _document(table) | {
        "table": folder / TABLE_FILE,
        "plot": folder / PLOT_FILE,
        "page": folder / PAGE_FILE,
        "warnings": table_warnings(table),
    }
    emit(document, lambda: _text(table, document), as_json=as_json)


def _document(table: LatencyTable) -> dict[str, Any]:
    return {
        "device": table.key.device_id,
        "backbone": table.key.backbone,
        "batch_size": table.key.batch_size,
        "dtype": table.key.dtype,
        "runtime": table.key.runtime,
        "num_threads": table.key.num_threads,
        "dense_ms": table.dense.median_ms,
        "block_ms": _medians(table.blocks),
        "selection_ms": _medians(table.selections),
        "deeper_levels": [
            {"block_ms": _medians(level.blocks), "selection_ms": _medians(level.selections)}
            for level in table.deeper_levels
        ],
        "median_error_percent": table.end_to_end.median_error_percent,
        "p90_error_percent": table.end_to_end.p90_error_percent,
        "max_error_percent": table.end_to_end.max_error_percent,
        "preparation_s": table.conditions.preparation_s,
        "load_average": table.conditions.load_average,
        "cpu_pressure_percent": table.conditions.cpu_pressure_percent,
        "reference_spread_percent": table.conditions.reference_spread_percent,
        "sha256": table.sha256,
    }


def _medians(curve: Curve) -> dict[int, float]:
    return {num_tokens: row.median_ms for num_tokens, row in curve.items()}


def _text(table: LatencyTable, document: dict[str, Any]) -> str:
    key = table.key
    dense = f"{table.dense.median_ms:.3f} ms (90 % interval {table.dense.low_ms:.3f} to {table.dense.high_ms:.3f})"
    levels = [text for number, level in enumerate(table.levels, start=1) for text in _level(number, level.blocks)]
    return "\n".join(
        [
            f"device   {key.device_id}",
            f"model    {key.backbone}, batch {key.batch_size}, {key.dtype}, {key.runtime}, {key.num_threads} thread(s)",
            f"dense    {dense}",
            (
                f"error    {table.end_to_end.median_error_percent:.1f} % median, "
                f"{table.end_to_end.max_error_percent:.1f} % at most, on {table.end_to_end.num_checked} complete models"
            ),
            f"machine  {_conditions(table)}",
            "",
            *(levels if table.deeper_levels else levels[1:]),
            *(f"warning  {warning}" for warning in document["warnings"]),
            f"table    {document['table']}",
            f"picture  {document['plot']}",
            f"page     {document['page']}",
        ]
    )


def _conditions(table: LatencyTable) -> str:
    conditions = table.conditions
    pressure = conditions.cpu_pressure_percent
    facts = [
        f"load average {conditions.load_average:.1f}",
        "" if pressure is None else f"CPU pressure {pressure:.0f} %",
        f"one and the same block varied by {conditions.reference_spread_percent:.0f} %",
        f"{conditions.preparation_s:.0f} s of compiling or exporting" if conditions.preparation_s >= 1.0 else "",
    ]
    return ", ".join(filter(None, facts))


def _level(number: int, blocks: Curve) -> list[str]:
    rows = [
        [str(count), f"{row.median_ms:.4f}", f"{row.low_ms:.4f} to {row.high_ms:.4f}"] for count, row in blocks.items()
    ]
    return [f"level {number}", columns([["tokens", "one block, ms", "90 % interval"], *rows]), ""]
