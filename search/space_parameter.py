"""One parameter that a search explores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.domains import Choice, Domain, FloatRange, IntRange

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """Something that is explored, and when it is asked for.

    Attributes:
        section: the table of the trial that it is a key of; empty for what makes up the schedule.
        stage: the selector (1, 2, ...) without which there is no such parameter.
    """

    name: str
    domain: Domain
    section: str = ""
    stage: int = 0

    @classmethod
    def of_structure(cls, name: str, domain: Domain) -> Parameter:
        """One that says how many selectors there are, or, for each of them, where it stands."""
        is_share = name.endswith("_share")
        stage = int(name.removeprefix("block").removesuffix("_share")) if is_share else 0
        return cls(name=name, domain=domain, stage=stage)

    def suggested(self, trial: BaseTrial) -> Any:
        """Its value in a trial of any study."""
        match self.domain:
            case FloatRange(low=low, high=high, log=log):
                return trial.suggest_float(self.name, low, high, log=log)
            case IntRange(low=low, high=high, log=log):
                return trial.suggest_int(self.name, low, high, log=log)
            case Choice(choices=choices):
                return trial.suggest_categorical(self.name, choices)
