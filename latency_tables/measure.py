"""Measures a latency table: the parts of a backbone, then complete pruned models to check the parts against."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from torch import nn

from latency_tables.allowance import Allowance
from latency_tables.clock import clock_for
from latency_tables.complete_models import check_models
from latency_tables.conditions import Conditions
from latency_tables.device import DeviceFingerprint
from latency_tables.end_to_end import random_schedules
from latency_tables.engine import engine_for
from latency_tables.key import BackboneShape, DType, Runtime, SelectorOptions, TableKey
from latency_tables.part_rows import last_block_rows, level_rows, long_row, reference_row, row
from latency_tables.part_timing import PartTimer, TimedParts
from latency_tables.parts import Parts, shape_of
from latency_tables.quiet import Business, business, check_threads, pinned_cores, steady_process
from latency_tables.ratio import spread_percent
from latency_tables.repeats import Goal
from latency_tables.stages import Progress, Stages
from latency_tables.table import EndToEndCheck, LatencyTable
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind
from spvit.schedule import PruningSchedule

_SHARE_FOR_PARTS = 0.4
_UNSCALED = EndToEndCheck(
    scale=1.0, num_fitted=1, num_checked=1, median_error_percent=0.0, p90_error_percent=0.0, max_error_percent=0.0
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How well a table is measured.

    Attributes:
        precision: half of each row's 90 % interval, as a share of its median, at which it is repeated no more.
        time_limit_s: wall time of measuring, at the cost of wider intervals. Compiling and exporting comes on top.
        num_part_rounds: samples of a part at most.
        num_model_rounds: samples of a complete model at most.
        num_models: complete models that the table is checked against.
        seed: of the order, and of the complete models.
    """

    precision: float = 0.02
    time_limit_s: float = 45.0
    num_part_rounds: int = 400
    num_model_rounds: int = 100
    num_models: int = 14
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_part_rounds < 1 or self.num_model_rounds < 1 or self.time_limit_s <= 0.0:
            raise ValueError(f"Rounds and time must be above 0, but got {self}.")
        if not 0.0 < self.precision < 1.0:
            raise ValueError(f"The precision must be a share between 0 and 1, but got {self}.")
        if self.num_models < 2:
            raise ValueError(f"At least two complete models are needed to check one by the others, but got {self}.")


def measure_table(
    backbone: nn.Module,
    *,
    name: str,
    batch_size: int = 1,
    dtype: DType | str = DType.FLOAT32,
    num_threads: int = 1,
    device: str = "cpu",
    runtime: Runtime | str = Runtime.EAGER,
    selector: SelectorOptions | None = None,
    other_selectors: Sequence[SelectorKind] = (),
    progress: Progress = lambda _fraction, _text: None,
    cores: Set[int] | None = None,
    effort: Effort | None = None,
) -> LatencyTable:
    """Measures what every part of a backbone costs on this machine.

    Each sample is the ratio to a dense block that runs just before and after it; parts take turns in an order drawn
    anew each round, until their intervals are narrow enough; blocks rotate through the model's own weights as in a
    forward pass. With one CPU thread CPU time is counted, with more wall time, on a GPU the time between events.

    Args:
        backbone: the model; it is copied, not touched.
        name: its timm name, for the key.
        batch_size: images per forward pass.
        dtype: number format of weights and activations.
        num_threads: CPU threads.
        device: torch device.
        runtime: what executes the model.
        selector: the selector to price; the default one if absent.
        other_selectors: further kinds to price, weighted and packaged alike.
        progress: see `Progress`.
        cores: pin to these cores meanwhile.
        effort: how well.

    Raises:
        ConfigError: this machine has fewer cores than `num_threads`, or cannot run this runtime.
        LatencyTableError: the machine was so disturbed that the curves cannot be true, or the model has too few
            patches to be pruned.
    """
    check_threads(num_threads)
    fingerprint = DeviceFingerprint.detect(device, runtime=runtime)
    key = TableKey(
        device_id=fingerprint.id,
        backbone=name,
        shape=shape_of(backbone),
        batch_size=batch_size,
        dtype=DType(dtype),
        runtime=Runtime(runtime),
        num_threads=num_threads,
    )
    measuring = _Measuring(
        key=key,
        fingerprint=fingerprint,
        device=device,
        selector=selector or SelectorOptions(),
        other_selectors=tuple(other_selectors),
        effort=effort or Effort(),
        cores=cores,
        stages=Stages(progress, key.runtime),
    )
    return measuring.run(backbone)


@dataclass(frozen=True, kw_only=True)
class _Measuring:
    """All that one table's measurement depends on."""

    key: TableKey
    fingerprint: DeviceFingerprint
    device: str
    selector: SelectorOptions
    other_selectors: tuple[SelectorKind, ...]
    effort: Effort
    cores: Set[int] | None
    stages: Stages

    @property
    def kinds(self) -> tuple[SelectorKind, ...]:
        """The kinds of selectors to price, the table's own first."""
        return tuple(dict.fromkeys((self.selector.kind, *self.other_selectors)))

    def run(self, backbone: nn.Module) -> LatencyTable:
        """Measure parts, then complete models."""
        schedules, before = self._complete_models(), business()
        with steady_process(self.key.num_threads, self.cores):
            allowance = Allowance(self.effort.time_limit_s)
            with allowance.preparing():
                parts = self._parts(backbone)
            measured = self._time_parts(parts, allowance)
            draft = self._draft(measured)
            check = check_models(
                draft,
                parts,
                schedules,
                clock=clock_for(self.device, self.key.num_threads),
                goal=self._goal(self.effort.num_model_rounds, 1.0),
                seed=self.effort.seed,
                allowance=allowance,
                say=self.stages.prepare,
                on_look=self.stages.measuring(_SHARE_FOR_PARTS, 1.0, "checking complete models"),
            )
        return replace(draft, end_to_end=check, conditions=self._conditions(measured, before, allowance))

    def _parts(self, backbone: nn.Module) -> Parts:
        return Parts(
            backbone,
            batch_size=self.key.batch_size,
            dtype=self.key.dtype,
            device=self.device,
            selector=self.selector,
            engine=engine_for(self.key.runtime, num_threads=self.key.num_threads),
        )

    def _time_parts(self, parts: Parts, allowance: Allowance) -> TimedParts:
        timer = PartTimer(parts, self.key.shape, self.kinds, allowance=allowance, say=self.stages.prepare)
        return timer.run(
            clock=clock_for(self.device, self.key.num_threads),
            goal=self._goal(self.effort.num_part_rounds, _SHARE_FOR_PARTS),
            seed=self.effort.seed,
            on_gpu=self.device.startswith("cuda"),
            on_look=self.stages.measuring(0.0, _SHARE_FOR_PARTS, "measuring parts"),
        )

    def _goal(self, max_rounds: int, share_of_time: float) -> Goal:
        until_s = share_of_time * self.effort.time_limit_s
        return Goal(precision=self.effort.precision, max_rounds=max_rounds, until_s=until_s)

    def _draft(self, measured: TimedParts) -> LatencyTable:
        """The table before it was checked against complete models."""
        timed, shape = measured.timed, self.key.shape
        first, *deeper = level_rows(timed, shape, self.kinds, measured.block_counts)
        try:
            return LatencyTable(
                key=self.key,
                device=self.fingerprint,
                selector=self.selector,
                stem=row(timed, "stem"),
                head=row(timed, "head"),
                dense=long_row(timed, "dense"),
                reference=reference_row(timed),
                blocks=first.blocks,
                last_blocks=last_block_rows(timed, shape),
                selections=first.selections,
                other_selections=first.other_selections,
                pooling=row(timed, "pooling") if deeper else None,
                deeper_levels=tuple(deeper),
                end_to_end=_UNSCALED,
                conditions=self._conditions(measured, business(), None),
            )
        except LatencyTableError as error:
            raise LatencyTableError(
                f"The measurement failed: {error} Close other programs and measure again."
            ) from error

    def _conditions(self, measured: TimedParts, before: Business, allowance: Allowance | None) -> Conditions:
        after = business()
        return Conditions(
            created_at=datetime.now(UTC),
            load_average=before.load_average,
            cpu_pressure_percent=before.cpu_pressure_percent,
            reference_spread_percent=spread_percent(measured.timed.reference_seconds),
            load_average_after=after.load_average,
            cpu_pressure_percent_after=after.cpu_pressure_percent,
            usable_cores=self.fingerprint.usable_cores,
            pinned_cores=pinned_cores(self.cores),
            preparation_s=0.0 if allowance is None else allowance.preparation_s,
            num_rows=len(measured.timed.workloads),
            num_precise_rows=measured.num_precise,
        )

    def _complete_models(self) -> list[PruningSchedule]:
        """The models to check the table against, drawn first: what cannot be pruned is refused before it is timed."""
        shape: BackboneShape = self.key.shape
        schedules = random_schedules(
            shape.geometry, self.selector.package, num_schedules=self.effort.num_models, seed=self.effort.seed
        )
        if len(schedules) < 2:
            raise LatencyTableError(
                f"{self.key.backbone} has {shape.num_patches} patches in {shape.depth} blocks, too few to prune in two "
                "different ways; choose a larger image or smaller patches."
            )
        return schedules
