"""What somebody beside the study knows of it, and it is to be held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search.records import StudyRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """Nothing of it is needed; what is given is checked.

    Attributes:
        before: the study at an earlier moment: what had finished then must be there still, unchanged.
        undisturbed: a study of the same experiment and seed that nothing interrupted: the fronts must be equal.
        executed_epochs: epochs that workers began, by the number of a trial's first attempt.
        num_faults: how often a worker or the driver was killed; each may cost every running trial one epoch.
    """

    before: StudyRecord | None = None
    undisturbed: StudyRecord | None = None
    executed_epochs: Mapping[int, int] = field(default_factory=dict)
    num_faults: int = 0

    def __post_init__(self) -> None:
        if self.num_faults < 0:
            raise ValueError(f"num_faults must be 0 or more, but got {self.num_faults}.")
