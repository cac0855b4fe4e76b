"""How commands that choose a trial tell two apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from search.commands.progress import progress_bar
from search.records import StudyRecord

if TYPE_CHECKING:
    from search.choosing import Compare


@contextmanager
def comparing(study: StudyRecord, *, evaluate: bool) -> Iterator[Compare]:
    """By what is known, or with `evaluate` image by image, showing how far that is."""
    from search.answers import by_answers

    if not evaluate:
        yield by_answers(study)
        return
    with progress_bar("comparing") as progress:
        yield by_answers(study, progress)
