"""What configurations cost on every device whose latency a study minimises, and the most they may cost there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LatencyFunction = Callable[[Mapping[str, Any]], float]
"""Latency in milliseconds of a configuration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """One latency function and one cap, infinite where there is none, for each device.

    Raises:
        ValueError: there is no device, their caps are not as many, or a cap is not above 0.
    """

    latency_functions: tuple[LatencyFunction, ...]
    caps_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.latency_functions:
            raise ValueError("latency_ms must hold at least one latency function, but got none")
        if len(self.caps_ms) != len(self.latency_functions):
            raise ValueError(
                f"max_latency_ms must have a cap (or None) for each of {len(self.latency_functions)} latency "
                f"functions, but got {len(self.caps_ms)}"
            )
        for cap_ms in self.caps_ms:
            if not cap_ms > 0:
                raise ValueError(f"max_latency_ms must be above 0, but got {cap_ms}")

    @classmethod
    def of(
        cls,
        latency_ms: LatencyFunction | Sequence[LatencyFunction],
        max_latency_ms: float | Sequence[float | None] | None = None,
    ) -> Devices:
        """Devices as users name them: one function, or several; no cap, one, or one for each function.

        Raises:
            ValueError: see the class.
        """
        functions = (latency_ms,) if callable(latency_ms) else tuple(latency_ms)
        if max_latency_ms is None:
            caps: tuple[float | None, ...] = (None,) * len(functions)
        else:
            caps = tuple(max_latency_ms) if isinstance(max_latency_ms, Sequence) else (max_latency_ms,)
        return cls(
            latency_functions=functions,
            caps_ms=tuple(math.inf if cap_ms is None else float(cap_ms) for cap_ms in caps),
        )

    def __len__(self) -> int:
        return len(self.latency_functions)

    def price(self, params: Mapping[str, Any]) -> tuple[float, ...] | None:
        """A configuration's latency on each device; None if parameters are missing to tell one of them."""
        try:
            return tuple(float(latency_ms(params)) for latency_ms in self.latency_functions)
        except KeyError:
            return None

    def admit(self, latencies_ms: Sequence[float]) -> bool:
        """Whether a configuration has a latency on each device and is within all caps."""
        return all(math.isfinite(ms) and ms <= cap_ms for ms, cap_ms in zip(latencies_ms, self.caps_ms, strict=True))

    def caps_text(self) -> str:
        """The caps, for messages."""
        return ", ".join(f"{cap_ms:g}" for cap_ms in self.caps_ms)
