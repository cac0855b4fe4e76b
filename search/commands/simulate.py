"""`spvit-search simulate`: searches replayed on a recorded study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from search.commands.options import POSITIVE, POSITIVE_SHARE, epilog, json_option
from search.commands.output import emit
from search.commands.progress import progress_bar
from search.search_config import PrunerName, SamplerName
from spvit.errors import UsageError

if TYPE_CHECKING:
    from search.budget import LatencyBudget
    from search.comparison import Arm, Scale
    from search.simulation import Replay

Name = TypeVar("Name", bound=StrEnum)

DEFAULT_SAMPLER, DEFAULT_PRUNER = SamplerName.KNOWN_LATENCY, PrunerName.MEDIAN
EXAMPLE = (
    "spvit-search simulate --on experiments/recorded/fashion_mnist.parquet --sampler random --sampler known_latency"
)


@click.command("simulate", epilog=epilog(EXAMPLE, "usage", "config", "storage", "feasible"))
@click.option("--on", "table", type=click.Path(path_type=Path), required=True, help="A table that `record` wrote.")
@click.option(
    "--sampler",
    "samplers",
    type=click.Choice([str(name) for name in SamplerName]),
    multiple=True,
    help=f"Proposes; repeatable. {DEFAULT_SAMPLER} if absent.",
)
@click.option(
    "--pruner",
    "pruners",
    type=click.Choice([str(name) for name in PrunerName]),
    multiple=True,
    help=f"Stops trials early; repeatable. {DEFAULT_PRUNER} if absent.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=8, show_default=True, help="Searches of each kind.")
@click.option(
    "--trials", type=click.IntRange(min=1), default=None, help="Of a search; all within the budget if absent."
)
@click.option("--workers", type=click.IntRange(min=1), default=4, show_default=True, help="Trials that run at once.")
@click.option("--max-latency-ms", type=POSITIVE, default=None, help="Latency budget; whatever was recorded if absent.")
@click.option(
    "--max-latency-share", type=POSITIVE_SHARE, default=None, help="The same as a share of the dense model's."
)
@json_option
def command(
    *,
    table: Path,
    samplers: tuple[str, ...],
    pruners: tuple[str, ...],
    seeds: int,
    trials: int | None,
    workers: int,
    max_latency_ms: float | None,
    max_latency_share: float | None,
    as_json: bool,
) -> None:
    """Replay searches on a recorded study, in simulated time and without training, and compare them.

    Every sampler is run with every pruner, on the same seeds. The first pair is what the others are compared with.
    """
    from search.commands.simulate_text import comparison_document, comparison_text
    from search.comparison import Scale
    from search.recorded import RecordedStudy
    from search.simulation import Replay

    recorded = RecordedStudy.load(table)
    replay = Replay(recorded, _budget(max_latency_ms, max_latency_share, recorded.dense_ms))
    scale = Scale.of(replay.feasible, replay.budget.max_ms)
    kinds = list(product(_names(samplers, SamplerName, DEFAULT_SAMPLER), _names(pruners, PrunerName, DEFAULT_PRUNER)))
    arms = _run(replay, scale, kinds, seeds=seeds, num_trials=trials, num_workers=workers)
    document = comparison_document(replay, scale, arms, num_workers=workers)
    emit(document, lambda: comparison_text(replay, arms, num_workers=workers), as_json=as_json)


def _names(given: Sequence[str], kind: type[Name], default: Name) -> list[Name]:
    return list(dict.fromkeys(kind(name) for name in given)) or [default]


def _budget(max_ms: float | None, share: float | None, dense_ms: float) -> LatencyBudget | None:
    from search.budget import LatencyBudget

    if max_ms is not None and share is not None:
        raise UsageError("give --max-latency-ms or --max-latency-share, not both")
    if max_ms is not None:
        return LatencyBudget(max_ms=max_ms, source="--max-latency-ms")
    if share is not None:
        source = f"--max-latency-share {share:g} of {dense_ms:.3f} ms (dense)"
        return LatencyBudget(max_ms=share * dense_ms, source=source)
    return None


def _run(
    replay: Replay,
    scale: Scale,
    kinds: Sequence[tuple[SamplerName, PrunerName]],
    *,
    seeds: int,
    num_trials: int | None,
    num_workers: int,
) -> list[Arm]:
    from search.comparison import Arm, Trace

    def traces(sampler: SamplerName, pruner: PrunerName, index: int) -> Iterator[Trace]:
        for seed in range(seeds):
            report((index * seeds + seed) / (len(kinds) * seeds), f"{sampler} with {pruner}, seed {seed}")
            search = replay.search(
                sampler=sampler, pruner=pruner, seed=seed, num_trials=num_trials, num_workers=num_workers
            )
            yield Trace.of(search, scale)

    with progress_bar("simulating") as report:
        arms = [
            Arm(sampler=sampler, pruner=pruner, traces=tuple(traces(sampler, pruner, index)))
            for index, (sampler, pruner) in enumerate(kinds)
        ]
        report(1.0, "done")
    return arms
