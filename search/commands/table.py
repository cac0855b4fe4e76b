"""`spvit-search table`: latency tables, looked at, checked, compared and made from what was measured elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.commands.options import (
    POSITIVE,
    epilog,
    experiment_argument,
    experiment_runs_dir_option,
    json_option,
    read_experiment,
    set_option,
    study_folder,
)
from search.commands.output import emit
from search.commands.progress import progress_bar

if TYPE_CHECKING:
    from latency_tables.table import LatencyTable
    from search.config import ExperimentConfig

TABLE = click.Path(path_type=Path)
EPILOG = epilog("spvit-search table show runs/demo/latency_table.json", "usage", "config", "table", "storage")


@click.group("table", epilog=EPILOG)
def command() -> None:
    """List, show, check, compare or import latency tables, which say what a model's parts cost on a device."""


@command.command(
    "show",
    short_help="Print what a table is for, its rows, error and warnings.",
    epilog=epilog("spvit-search table show runs/demo/latency_table.json", "usage", "table"),
)
@click.argument("table", type=TABLE)
@json_option
def show(table: Path, *, as_json: bool) -> None:
    """Print what a table is for, under which conditions it was measured, every row, its error and its warnings."""
    from latency_tables.table import LatencyTable
    from search.commands.table_text import table_document, table_text

    loaded = LatencyTable.load(table)
    emit(table_document(loaded), lambda: table_text(loaded), as_json=as_json)


@command.command(
    "list", epilog=epilog("spvit-search table list ", "table"), short_help="List the tables that come with the program."
)
@json_option
def list_(*, as_json: bool) -> None:
    """List the tables that come with the program: which models, which devices, how well they predict."""
    from latency_tables.device import DeviceFingerprint
    from latency_tables.store import shipped_tables
    from search.commands.shipped_text import shipped_documents, shipped_text

    here = DeviceFingerprint.detect().id
    documents = shipped_documents(shipped_tables(), here)
    emit({"device": here, "tables": documents}, lambda: shipped_text(documents, here), as_json=as_json)


CHECK = "spvit-search table check runs/demo/latency_table.json experiments/demo.toml --measure"


@command.command(
    "check",
    short_help="Is a table whole, and may it price an experiment here?",
    epilog=epilog(CHECK, "usage", "config", "table"),
)
@click.argument("table", type=TABLE)
@click.argument("experiment", type=TABLE, required=False)
@set_option
@click.option("--measure", is_flag=True, help="Measure three of its points again: is this device still as fast?")
@json_option
def check(table: Path, experiment: Path | None, overrides: tuple[str, ...], *, measure: bool, as_json: bool) -> None:
    """Say whether a table is whole, and whether it may price an EXPERIMENT on this device.

    A table that is damaged, or for another device, model or way of running, ends with 4. With --measure so does a
    device that drifted, where the experiment sets latency.on_drift = "refuse"; else it is told.
    """
    from latency_tables.health import table_warnings
    from latency_tables.table import LatencyTable

    if table.suffix == ".toml":
        given = f"{experiment} {table}" if experiment else f"TABLE {table}"
        raise click.UsageError(f"{table} is an experiment file; the TABLE comes first: table check {given}")
    if experiment is None and (measure or overrides):
        raise click.UsageError("--measure and --set need an EXPERIMENT, which names the model.")
    loaded = LatencyTable.load(table)
    document: dict[str, Any] = {"table": table, "sha256": loaded.sha256, "warnings": list(table_warnings(loaded))}
    if experiment is not None:
        document |= _checked_for(loaded, read_experiment(experiment, overrides), document["warnings"], measure=measure)
    emit(document, lambda: _check_text(document), as_json=as_json)


def _checked_for(
    table: LatencyTable, experiment: ExperimentConfig, warnings: list[str], *, measure: bool
) -> dict[str, Any]:
    from search.drift_check import known_differences, measure_drift, what_drift_means, why_not_measured
    from search.profiling import check_experiment_table

    check_experiment_table(table, experiment)
    found: dict[str, Any] = {"experiment": experiment.study.name, "warnings": [*warnings]}
    found["warnings"] += known_differences(table, experiment)
    if not measure:
        return found
    if (reason := why_not_measured(table, experiment)) is not None:
        found["warnings"].append(reason)
        return found
    with progress_bar("measuring") as progress:
        progress(0.0, "three points again")
        drift = measure_drift(table, experiment)
    found["warnings"] += what_drift_means(drift, experiment)
    return found | {"drift": {"ratio": drift.ratio.median, "low": drift.ratio.low, "high": drift.ratio.high}}


def _check_text(document: dict[str, Any]) -> str:
    lines = [f"table    {document['table']}: whole"]
    if "experiment" in document:
        lines.append(f"prices   {document['experiment']}: yes")
    if "drift" in document:
        drift = document["drift"]
        lines.append(f"drift    {drift['ratio']:.3f} of the table's times ({drift['low']:.3f} to {drift['high']:.3f})")
    return "\n".join([*lines, *(f"warning  {warning}" for warning in document["warnings"])])


@command.command(
    "compare",
    short_help="Compare two tables row by row.",
    epilog=epilog("spvit-search table compare monday.json friday.json", "usage", "table"),
)
@click.argument("first", type=TABLE, metavar="A")
@click.argument("second", type=TABLE, metavar="B")
@json_option
def compare(first: Path, second: Path, *, as_json: bool) -> None:
    """Compare two tables row by row: B over A as multiples of their reference blocks, with all that intervals allow.

    Rows whose intervals have nothing in common differ. Of one machine that was measured twice at most one in twenty
    should; of two machines, with the ratio of the references, it says whether they are the same.
    """
    from latency_tables.compare import compare_tables
    from latency_tables.table import LatencyTable
    from search.commands.table_text import comparison_document, comparison_text

    comparison = compare_tables(LatencyTable.load(first), LatencyTable.load(second))
    emit(comparison_document(comparison), lambda: comparison_text(comparison), as_json=as_json)


IMPORT = 'spvit-search table import board.csv experiments/demo.toml --device "Board 7" --output board.json'


@command.command(
    "import",
    short_help="Make a table from a CSV file measured elsewhere.",
    epilog=epilog(IMPORT, "usage", "config", "table", "storage"),
)
@click.argument("file", type=TABLE)
@experiment_argument
@click.option("--device", "device_name", required=True, metavar="NAME", help="Of the device that was measured.")
@click.option("--dense-ms", type=POSITIVE, help="Of the whole model, if FILE lacks it.")
@click.option("--output", type=TABLE, help="The table to write; the study's own if absent.")
@click.option("--force", is_flag=True, help="Replace a table that is there.")
@set_option
@experiment_runs_dir_option
@json_option
def import_(
    file: Path,
    experiment: Path,
    *,
    device_name: str,
    dense_ms: float | None,
    output: Path | None,
    overrides: tuple[str, ...],
    runs_dir: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make a latency table from a CSV FILE that was measured on a device which cannot run this program.

    The EXPERIMENT names the model, batch size, number format and threads. FILE has the columns part, num_tokens and
    median_ms, or, as the paper's latency-sparsity tables, keep_ratio and block_ms; docs/latency_import.md describes
    them. Search with latency.target = "other_device".
    """
    from latency_tables.health import table_warnings
    from search.table_import import import_for, output_path, write_table

    config = read_experiment(experiment, overrides, runs_dir)
    table = import_for(config, file, device_name=device_name, dense_ms=dense_ms)
    path = output_path(output, study_folder(config), force=force)
    write_table(table, path, study_folder(config))
    document = {
        "table": path,
        "device": table.device.id,
        "dense_ms": table.dense.median_ms,
        "assumed": table.provenance.assumed,
        "warnings": table_warnings(table),
        "sha256": table.sha256,
    }
    emit(document, lambda: _import_text(document), as_json=as_json)


def _import_text(document: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"table    {document['table']}, for {document['device']}",
            f"dense    {document['dense_ms']:.3f} ms",
            *(f"warning  {warning}" for warning in document["warnings"]),
            'search   with latency.target = "other_device"',
        ]
    )
