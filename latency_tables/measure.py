"""Measures a latency table: the parts of a backbone, then complete pruned models to check the parts against."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from torch import nn

from latency_tables.clock import Clock, clock_for
from latency_tables.device import DeviceFingerprint
from latency_tables.end_to_end import check_predictions, random_schedules
from latency_tables.key import BackboneShape, DType, SelectorOptions, TableKey
from latency_tables.part_rows import last_block_rows, level_rows, part_workloads, reference_row, row
from latency_tables.parts import Parts, shape_of
from latency_tables.predict import predict_many
from latency_tables.quiet import cpu_pressure_percent, load_average, steady_process
from latency_tables.ratio import spread_percent
from latency_tables.table import Conditions, EndToEndCheck, LatencyTable
from latency_tables.timing import Interleaved, RoundDone, interleave
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind
from spvit.schedule import PruningSchedule

Progress = Callable[[float, str], None]
"""Told the finished fraction (0 to 1) and what is going on."""

_NUM_COMPLETE_MODELS = 14
_SHARE_FOR_PARTS = 0.4
_UNSCALED = EndToEndCheck(
    scale=1.0, num_fitted=1, num_checked=1, median_error_percent=0.0, p90_error_percent=0.0, max_error_percent=0.0
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How long a table is measured. Rounds stop at about `time_limit_s`, at the cost of wider intervals."""

    num_part_rounds: int = 24
    num_model_rounds: int = 10
    time_limit_s: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_part_rounds < 1 or self.num_model_rounds < 1 or self.time_limit_s <= 0.0:
            raise ValueError(f"Rounds and time must be above 0, but got {self}.")


def measure_table(
    backbone: nn.Module,
    *,
    name: str,
    batch_size: int = 1,
    dtype: DType | str = DType.FLOAT32,
    num_threads: int = 1,
    device: str = "cpu",
    selector: SelectorOptions | None = None,
    other_selectors: Sequence[SelectorKind] = (),
    time_limit_s: float = 60.0,
    progress: Progress = lambda _fraction, _text: None,
    cores: Set[int] | None = None,
    effort: Effort | None = None,
) -> LatencyTable:
    """Measures what every part of a backbone costs on this machine.

    Each sample is the ratio to a dense block that runs just before and after it; parts take turns in an order drawn
    anew each round; blocks rotate through the model's own weights as in a forward pass. With one CPU thread CPU time
    is counted, with more wall time, on a GPU the time between events.

    Args:
        backbone: the model; it is copied, not touched.
        name: its timm name, for the key.
        batch_size: images per forward pass.
        dtype: number format of weights and activations.
        num_threads: CPU threads.
        device: torch device.
        selector: the selector to price; the default one if absent.
        other_selectors: further kinds to price, weighted and packaged alike.
        time_limit_s: wall time to aim at; ignored where `effort` is given.
        progress: see `Progress`.
        cores: pin to these cores meanwhile.
        effort: numbers of rounds, for a rougher or a finer table.

    Raises:
        LatencyTableError: the machine was so disturbed that the curves cannot be true, or the model has too few
            patches to be pruned.
    """
    effort, selector = effort or Effort(time_limit_s=time_limit_s), selector or SelectorOptions()
    fingerprint, shape, clock = DeviceFingerprint.detect(device), shape_of(backbone), clock_for(device, num_threads)
    key = TableKey(
        device_id=fingerprint.id,
        backbone=name,
        shape=shape,
        batch_size=batch_size,
        dtype=DType(dtype),
        num_threads=num_threads,
    )
    schedules = _complete_models(key, selector, effort)
    parts = Parts(backbone, batch_size=batch_size, dtype=key.dtype, device=device, selector=selector)
    kinds = tuple(dict.fromkeys((selector.kind, *other_selectors)))
    with steady_process(num_threads, cores):
        on_part = _stage_of(progress, 0.0, _SHARE_FOR_PARTS, "measuring parts")
        timed = _time_parts(parts, shape, kinds, clock=clock, effort=effort, on_round=on_part)
        draft = _draft(key, fingerprint, selector, kinds, timed)
        on_round = _stage_of(progress, _SHARE_FOR_PARTS, 1.0, "checking complete models")
        return replace(
            draft, end_to_end=_check_models(draft, parts, schedules, clock=clock, effort=effort, on_round=on_round)
        )


def _time_parts(
    parts: Parts,
    shape: BackboneShape,
    kinds: Sequence[SelectorKind],
    *,
    clock: Clock,
    effort: Effort,
    on_round: RoundDone,
) -> Interleaved:
    return interleave(
        part_workloads(parts, shape, kinds),
        parts.block(shape.geometry.num_tokens),
        clock=clock,
        num_rounds=effort.num_part_rounds,
        time_limit_s=_SHARE_FOR_PARTS * effort.time_limit_s,
        seed=effort.seed,
        on_round=on_round,
    )


def _draft(
    key: TableKey,
    fingerprint: DeviceFingerprint,
    selector: SelectorOptions,
    kinds: Sequence[SelectorKind],
    timed: Interleaved,
) -> LatencyTable:
    """The table before it was checked against complete models."""
    first, *deeper = level_rows(timed, key.shape, kinds)
    try:
        return LatencyTable(
            key=key,
            device=fingerprint,
            selector=selector,
            stem=row(timed, "stem"),
            head=row(timed, "head"),
            dense=row(timed, "dense"),
            reference=reference_row(timed),
            blocks=first.blocks,
            last_blocks=last_block_rows(timed, key.shape),
            selections=first.selections,
            other_selections=first.other_selections,
            pooling=row(timed, "pooling") if deeper else None,
            deeper_levels=tuple(deeper),
            end_to_end=_UNSCALED,
            conditions=Conditions(
                created_at=datetime.now(UTC),
                load_average=load_average(),
                cpu_pressure_percent=cpu_pressure_percent(),
                reference_spread_percent=spread_percent(timed.reference_seconds),
            ),
        )
    except LatencyTableError as error:
        raise LatencyTableError(f"The measurement failed: {error} Close other programs and measure again.") from error


def _complete_models(key: TableKey, selector: SelectorOptions, effort: Effort) -> list[PruningSchedule]:
    """The models to check the table against, drawn first: what cannot be pruned is refused before it is timed."""
    schedules = random_schedules(
        key.shape.geometry, selector.package, num_schedules=_NUM_COMPLETE_MODELS, seed=effort.seed
    )
    if len(schedules) < 2:
        raise LatencyTableError(
            f"{key.backbone} has {key.shape.num_patches} patches in {key.shape.depth} blocks, too few to prune in two "
            "different ways; choose a larger image or smaller patches."
        )
    return schedules


def _check_models(
    draft: LatencyTable,
    parts: Parts,
    schedules: Sequence[PruningSchedule],
    *,
    clock: Clock,
    effort: Effort,
    on_round: RoundDone,
) -> EndToEndCheck:
    """Times complete pruned models between dense ones and compares them with the sums of their parts."""
    timed = interleave(
        {str(number): parts.pruned(schedule) for number, schedule in enumerate(schedules)},
        parts.dense(),
        clock=clock,
        num_rounds=effort.num_model_rounds,
        time_limit_s=(1.0 - _SHARE_FOR_PARTS) * effort.time_limit_s,
        seed=effort.seed,
        on_round=on_round,
    )
    plans = [schedule.plan(draft.geometry, draft.selector.package) for schedule in schedules]
    measured_ms = [timed.ratio(str(number)).median * draft.dense.median_ms for number in range(len(schedules))]
    return check_predictions([estimate.mean_ms for estimate in predict_many(draft, plans)], measured_ms)


def _stage_of(progress: Progress, start: float, end: float, text: str) -> RoundDone:
    """Progress of one stage as a part of the whole."""
    return lambda fraction: progress(start + fraction * (end - start), text)
