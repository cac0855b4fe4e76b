"""What faults did to a search, told from the study and from the notebooks beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import settled
from faulty_search import STUDY, TOLD, WORK, Order

from search.records import StudyRecord, TrialState
from search.retries import root_of
from search.verify import Expected
from search.verify.verify import verify_facts

OWN_ENDS = {str(TrialState.COMPLETE), str(TrialState.PRUNED)}


@dataclass(kw_only=True, slots=True)
class Tally:
    """What faults did to one search, or to many."""

    faults: int = 0
    lost: int = 0
    run_twice: int = 0
    epochs: int = 0
    epochs_wasted: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    fronts: int = 0
    fronts_identical: int = 0
    violations: list[str] = field(default_factory=list)

    def __iadd__(self, other: Tally) -> Tally:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def notes(folder: Path, name: str) -> list[dict[str, Any]]:
    """Lines of a notebook."""
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def judge(
    tally: Tally, order: Order, snapshots: list[tuple[float, StudyRecord | None]], undisturbed: StudyRecord | None
) -> None:
    folder = Path(order.folder)
    work = notes(folder, WORK)
    facts = settled.facts(folder / order.directory / STUDY)
    executed: dict[int, int] = {}
    for line in work:
        executed[line["root"]] = executed.get(line["root"], 0) + 1
    for _, before in snapshots or [(0.0, None)]:
        expected = Expected(
            before=before, undisturbed=undisturbed, executed_epochs=executed, num_faults=tally.faults + 1
        )
        tally.violations += [str(violation) for violation in verify_facts(facts, expected).violations]
    tally.epochs = len(work)
    tally.epochs_wasted = len(work) - len({(line["root"], line["epoch"]) for line in work})
    tally.lost = _num_lost(facts.study, notes(folder, TOLD), snapshots)
    tally.run_twice = _num_run_twice(work, snapshots)
    if undisturbed is not None:
        tally.fronts = 1
        tally.fronts_identical = int(story(facts.study) == story(undisturbed))


def _num_lost(study: StudyRecord, told: list[dict[str, Any]], snapshots: list[tuple[float, StudyRecord | None]]) -> int:
    """Trials that the driver had told, or the study had shown, to have ended, and that did not end so."""
    ends = {(line["number"], line["state"], line["top1"]) for line in told}
    for _, before in snapshots:
        ends |= {(t.number, str(t.state), t.top1) for t in (before.trials if before else ()) if t.state.is_finished}
    return len(ends - {(trial.number, str(trial.state), trial.top1) for trial in study.trials})


def _num_run_twice(work: list[dict[str, Any]], snapshots: list[tuple[float, StudyRecord | None]]) -> int:
    """Finished trials of which an epoch was begun later."""
    again = set()
    for at, before in snapshots:
        done = {root_of(trial) for trial in (before.trials if before else ()) if str(trial.state) in OWN_ENDS}
        again |= done & {line["root"] for line in work if line["at"] > at}
    return len(again)


def story(study: StudyRecord) -> list[tuple[Any, ...]]:
    """Each trial as it ended, in the order in which they were proposed; that some were run again is left out."""
    last = {root_of(trial): trial for trial in study.trials}
    return [(t.params, t.label, t.keep_counts, t.state, t.curve, t.top1, t.latency) for _, t in sorted(last.items())]
