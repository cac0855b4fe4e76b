"""Loads all that the invariants are about."""

from __future__ import annotations

from pathlib import Path

from search.driver_seen import is_running
from search.spool import Spool
from search.study import read_study
from search.tracking import SPOOL_FILE
from search.verify.facts import Facts
from search.verify.load_files import (
    load_checkpoints,
    load_exports,
    load_leftovers,
    load_table_damage,
    load_trial_folders,
)
from search.verify.load_orphans import load_orphans
from search.verify.load_runs import load_runs
from search.verify.load_secrets import load_secrets


def load_facts(folder: Path) -> Facts:
    """What a study's folder, its storage and MLflow hold. Changes none of them.

    Raises:
        UsageError: there is no such study.
        StorageError: it cannot be read.
    """
    study = read_study(folder)
    runs, note = load_runs(study, folder)
    return Facts(
        study=study,
        is_running=is_running(study, folder),
        checkpoints=load_checkpoints(folder),
        trial_folders=load_trial_folders(folder),
        exports=load_exports(folder),
        runs=runs,
        runs_note=note,
        num_unsent=len(Spool(folder / SPOOL_FILE).read()[0]),
        leftovers=load_leftovers(folder),
        orphans=load_orphans(folder),
        secrets=load_secrets(study, folder, runs or ()),
        table_damage=load_table_damage(study, folder),
    )
