"""What launching an experiment does to the study that there is already, in one sentence. Pure."""

from __future__ import annotations

from search.records import StudyRecord
from search.summary import num_counted


def what_happens(study: StudyRecord, num_trials: int) -> str:
    """Whether a study is begun on, gone on with or done, when its experiment is launched again.

    Args:
        study: as it stands.
        num_trials: that are asked for now.
    """
    counted = num_counted(study)
    so_far = f"study {study.name!r} exists with {counted} of {num_trials} trials"
    if study.end is None or not study.end.is_final:
        return f"{so_far}; going on with it: what finished is kept, what was interrupted goes on from its checkpoints"
    if counted < num_trials:
        return f"{so_far}; going on with it, unless what ended it still does ({study.end.reason})"
    return (
        f"{so_far}: it is finished, and nothing is run. More trials: spvit-search extend {study.name} --trials +N; "
        f"a new search: another study.name"
    )
