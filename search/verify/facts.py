"""What is known of a study, loaded once: the checks themselves read no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search.records import StudyRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFact:
    """One checkpoint folder. `damage` is what its manifest does not agree with; empty where it is whole."""

    trial: int
    step: int
    path: str
    damage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFact:
    """One export's folder: whose model it says it holds, and what its manifest does not agree with."""

    path: str
    study: str
    trial: int
    top1: float | None
    damage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFact:
    """One run in MLflow; of the whole search where `trial` is None.

    `top1[epoch]` holds every point of that step, `texts` the values of its params and tags.
    """

    trial: int | None
    run_id: str
    status: str
    state: str
    top1: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretFact:
    """A file or a field of the study in which a secret stands; never the secret itself."""

    where: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A study and everything around it.

    Attributes:
        study: as its storage has it.
        is_running: whether a driver holds it.
        checkpoints: those that a trial would go on from; what was set aside is not among them.
        trial_folders: numbers that have a folder.
        exports: those in the study's folder.
        runs: those in MLflow; None where it could not be read.
        runs_note: why not, or where they were read.
        num_unsent: events that wait to be written to MLflow.
        leftovers: paths of temporary files and folders.
        orphans: processes of this study's Ray that are alive, as text.
        secrets: where one was found.
        table_damage: what is wrong with the study's latency table.
    """

    study: StudyRecord
    is_running: bool = False
    checkpoints: tuple[CheckpointFact, ...] = ()
    trial_folders: tuple[int, ...] = ()
    exports: tuple[ExportFact, ...] = ()
    runs: tuple[RunFact, ...] | None = None
    runs_note: str = ""
    num_unsent: int = 0
    leftovers: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    secrets: tuple[SecretFact, ...] = ()
    table_damage: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether the last session ended in order; a killed driver leaves no end."""
        return not self.is_running and self.study.end is not None
