"""Looks for secrets where none should stand. Never returns one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from search.records import StudyRecord
from search.secrets import SECRET_VARIABLE
from search.study_files import STUDY_FILE
from search.verify.facts import RunFact, SecretFact
from search.verify.load_files import text_files

URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@\"']*:([^@/\s\"']+)@", re.IGNORECASE)
MIN_LENGTH = 8
"""Shorter values are found everywhere by chance."""
PRIVATE = ("ray_token", STUDY_FILE)
"""Files that may hold a secret, as only their owner may read them."""


def load_secrets(study: StudyRecord, folder: Path, runs: Iterable[RunFact]) -> tuple[SecretFact, ...]:
    """Where a secret of this process's environment, the study's own token or a URL's password stands."""
    secrets = _known(folder)
    return tuple(
        SecretFact(where=where, name=name) for where, text in _texts(study, folder, runs) for name in _in(text, secrets)
    ) + tuple(_readable_by_others(folder))


def _known(folder: Path) -> Mapping[str, str]:
    named = {
        name: value
        for name, value in os.environ.items()
        if SECRET_VARIABLE.search(name) and len(value) >= MIN_LENGTH and not value.startswith("/")
    }
    token = folder / "ray_token"
    return named | ({"Ray's token": token.read_text().strip()} if token.is_file() else {})


def _texts(study: StudyRecord, folder: Path, runs: Iterable[RunFact]) -> Iterator[tuple[str, str]]:
    yield "the experiment in the study", json.dumps(dict(study.experiment))
    for trial in study.trials:
        if trial.reason:
            yield f"trial {trial.number}", trial.reason
    for run in runs:
        yield "the search's run" if run.trial is None else f"the run of trial {run.trial}", "\n".join(run.texts)
    for path in text_files(folder):
        if path.name not in PRIVATE:
            yield str(path.relative_to(folder)), path.read_text(encoding="utf-8", errors="replace")


def _in(text: str, secrets: Mapping[str, str]) -> Iterator[str]:
    yield from (name for name, value in secrets.items() if value in text)
    if URL_PASSWORD.search(text):
        yield "a password in a URL"


def _readable_by_others(folder: Path) -> Iterator[SecretFact]:
    for name in PRIVATE:
        path = folder / name
        if path.is_file() and path.stat().st_mode & 0o077:
            yield SecretFact(where=name, name="others than its owner may read it")
