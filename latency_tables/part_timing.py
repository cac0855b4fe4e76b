"""Times the parts of a backbone, and finds the token counts at which its blocks have to be timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latency_tables.allowance import Allowance
from latency_tables.clock import Clock, Work
from latency_tables.counts import first_counts, gpu_counts, next_counts
from latency_tables.key import BackboneShape
from latency_tables.part_rows import BlockCounts, Makers, block_makers, block_name, fixed_makers
from latency_tables.parts import Parts
from latency_tables.repeats import Goal, OnLook, repeat
from latency_tables.rounds import Rounds
from latency_tables.samples import Interleaved
from spvit.options import SelectorKind

Say = Callable[[str], None]
"""Told what is being prepared."""


@dataclass(frozen=True, kw_only=True)
class TimedParts:
    """Samples of all parts, the counts of each level's blocks, and how many parts are as precise as they should be."""

    timed: Interleaved
    block_counts: BlockCounts
    num_precise: int


class PartTimer:
    """One timing of all parts of a backbone."""

    def __init__(
        self, parts: Parts, shape: BackboneShape, kinds: Sequence[SelectorKind], *, allowance: Allowance, say: Say
    ) -> None:
        self._parts, self._shape, self._kinds = parts, shape, kinds
        self._allowance, self._say = allowance, say
        self._counts: list[set[int]] = []

    def run(self, *, clock: Clock, goal: Goal, seed: int, on_gpu: bool, on_look: OnLook) -> TimedParts:
        """Time everything until the goal is met; on a CPU more counts are added where the curves ask for them."""
        counts = gpu_counts if on_gpu else first_counts
        levels = range(len(self._shape.geometry.levels))
        self._counts = [set(counts(self._shape, level)) for level in levels]
        reference = self._prepared({"reference block": lambda: self._parts.block(self._shape.geometry.num_tokens)})
        rounds = Rounds(reference["reference block"], clock=clock, seed=seed)
        rounds.add(self._prepared(fixed_makers(self._parts, self._shape, self._kinds)))
        for level in levels:
            rounds.add(self._prepared(block_makers(self._parts, level, sorted(self._counts[level]))))
        repeat(rounds, goal, self._allowance, more=(lambda _: {}) if on_gpu else self._more, on_look=on_look)
        return TimedParts(
            timed=rounds.result(),
            block_counts=[sorted(counts) for counts in self._counts],
            num_precise=sum(goal.is_reached(rounds.estimate(name)) for name in rounds.names),
        )

    def _more(self, rounds: Rounds) -> dict[str, Work]:
        """Blocks at the counts that the curves ask for by now."""
        added: dict[str, Work] = {}
        for level, counts in enumerate(self._counts):
            wanted = next_counts({count: rounds.estimate(block_name(level, count)) for count in counts})
            added |= self._prepared(block_makers(self._parts, level, wanted))
            counts |= set(wanted)
        return added

    def _prepared(self, makers: Makers) -> dict[str, Work]:
        """Work that is ready to be timed; the time that this takes is none of the allowance."""
        prepared: dict[str, Work] = {}
        for name, make in makers.items():
            self._say(name)
            with self._allowance.preparing():
                work = make()
            if work is not None:
                prepared[name] = work
        return prepared
