"""Measures the tables of this folder on the device where it is run, and lists all that are here in README.md.

    python latency_tables/data/make_tables.py [--models deit_tiny_patch16_224 ...] [--batch-sizes 1 8]
        [--dtypes float32 bfloat16] [--runtimes eager] [--device cpu] [--seconds 90]

Weights are random: speed does not depend on them. Every kind of selector is priced. A table of the same device and
way of running is replaced. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product
from typing import Any

import torch
from rich.progress import Progress, TaskID

from latency_tables.key import DType, Runtime
from latency_tables.measure import Effort, measure_table
from latency_tables.store import SHIPPED_TABLES, shipped_tables, table_path
from latency_tables.table import LatencyTable
from spvit.factory import create_backbone
from spvit.options import SelectorKind

MODELS = ("deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224")
README = """# Tables that come with spvit-search

Written by `python latency_tables/data/make_tables.py`, which measures them anew on the device where it runs. A search
that has no table of its own takes the one for its device, backbone, batch size, number format, runtime and threads, if
there is one here, and measures three of its points again before it relies on it.

Milliseconds are of the dense model. Errors are those of complete pruned models against the table's prediction, in
percent, each under a scale that was fitted without it.

| model | batch | format | runtime | threads | device | dense, ms | models | median | p90 | max |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Measure what the command line asks for."""
    options = _arguments()
    with Progress() as progress:
        for model, size, dtype, runtime in product(
            options.models, options.batch_sizes, options.dtypes, options.runtimes
        ):
            bar = progress.add_task(f"{model}, batch {size}, {dtype}, {runtime}", total=1.0)
            table = measure_table(
                backbone_of(model),
                name=model,
                batch_size=size,
                dtype=dtype,
                runtime=runtime,
                device=options.device,
                other_selectors=tuple(SelectorKind),
                effort=Effort(time_limit_s=options.seconds),
                progress=partial(report, progress, bar),
            )
            table.save(table_path(SHIPPED_TABLES, table.key))
            progress.console.print(_line(table))
    (SHIPPED_TABLES / "README.md").write_text(README + "".join(f"{_line(table)}\n" for table in shipped_tables()))


def backbone_of(model: str) -> Any:
    """The model with random weights, always the same ones."""
    torch.manual_seed(0)
    return create_backbone(model).eval()


def report(progress: Progress, bar: TaskID, share: float, text: str) -> None:
    """Moves a bar on."""
    progress.update(bar, completed=share, refresh=bool(text))


def _line(table: LatencyTable) -> str:
    key, check = table.key, table.end_to_end
    cells = (
        *(key.backbone, key.batch_size, key.dtype, key.runtime, key.num_threads, key.device_id),
        f"{table.dense.median_ms:.3f}",
        check.num_checked,
        *(f"{e:.1f}" for e in (check.median_error_percent, check.p90_error_percent, check.max_error_percent)),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="timm names")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=(1, 8))
    parser.add_argument("--dtypes", nargs="+", type=DType, default=(DType.FLOAT32, DType.BFLOAT16))
    parser.add_argument("--runtimes", nargs="+", type=Runtime, default=(Runtime.EAGER,))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=90.0, help="wall time of each table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
