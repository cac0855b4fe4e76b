"""What crosses between the driver and Ray, as values. Imports no Ray."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from trainers.config import TrialConfig

PAYLOAD = "trial"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTask:
    """What a worker is told. `num_known_epochs` have been reported by an earlier attempt."""

    number: int
    config: TrialConfig
    directory: Path
    num_known_epochs: int = 0

    def to_ray(self) -> dict[str, Any]:
        """As a Tune configuration: one text, which Tune cannot take for a search space and does not flatten."""
        values = {
            "number": self.number,
            "config": self.config.to_dict(),
            "directory": str(self.directory),
            "num_known_epochs": self.num_known_epochs,
        }
        return {PAYLOAD: json.dumps(values)}

    @classmethod
    def from_ray(cls, config: Mapping[str, Any]) -> Self:
        """What `to_ray` wrote."""
        values = json.loads(config[PAYLOAD])
        return cls(
            number=values["number"],
            config=TrialConfig.model_validate(values["config"]),
            directory=Path(values["directory"]).expanduser(),  # of the machine where this is read
            num_known_epochs=values["num_known_epochs"],
        )


class OfTheDriver:
    """Base of the objects that Tune holds for us. Tune pickles and copies them, but they are bound to the driver.

    Nothing is lost by that: the study is the only state, and Tune's own snapshots are never restored.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        del state

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        del memo
        return self
