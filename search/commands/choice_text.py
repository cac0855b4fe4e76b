"""What a choice of a trial is, in a few lines for a reader."""

from __future__ import annotations

from search.choosing import MAX_BLUR, Choice, Equal
from search.noise import Difference
from search.priced_candidates import is_candidate
from search.records import StudyRecord, TrialRecord
from spvit.wording import first_of

MAX_EQUALS_SHOWN = 6


def choice_lines(choice: Choice, study: StudyRecord) -> list[str]:
    """The best trial, the one preferred to it, what else is equal, and how to take the choice home."""
    return [
        f"{choice.wish}: {point_text(choice.best, study)}",
        *_preferred_lines(choice, study),
        *_equal_lines(choice, study),
        f"take trial {choice.trial.number}: spvit-search export {study.name} --trial {choice.trial.number}",
    ]


def taken_lines(choice: Choice, study: StudyRecord, command: str) -> list[str]:
    """What a command goes on with, where that is not the best by the numbers; else nothing."""
    if choice.difference is None:
        return []
    hint = "" if choice.difference.is_paired else "; --evaluate compares image by image, which tells more trials apart"
    return [
        f"{choice.wish}: {point_text(choice.best, study)}",
        f"taken instead: {point_text(choice.trial, study)},",
        choice.reason,
        f"for the other one: spvit-search {command} {study.name} --trial {choice.best.number}{hint}",
    ]


def choice_document(choice: Choice, study: StudyRecord) -> dict[str, object]:
    """A choice as plain values for programs."""
    from search.results import trial_row

    return {
        "wish": choice.wish,
        "trial": trial_row(choice.trial, study),
        "best": choice.best.number,
        "difference": choice.difference,
        "equals": [{"number": equal.trial.number, "difference": equal.difference} for equal in choice.equals],
    }


def point_text(trial: TrialRecord, study: StudyRecord) -> str:
    """Such as `trial 7: 88.05 % at 58.80 ms (1.40 times as fast as dense)`."""
    speed_up = study.dense_latency.mean_ms / trial.latency.mean_ms
    name = f"schedule {trial.label}" if is_candidate(trial) else f"trial {trial.number}"
    return f"{name}: {trial.top1:.2f} % at {trial.latency.mean_ms:.2f} ms ({speed_up:.2f} times as fast as dense)"


def _preferred_lines(choice: Choice, study: StudyRecord) -> list[str]:
    if choice.difference is None:
        return []
    return [f"preferred: {point_text(choice.trial, study)},", choice.reason]


def _equal_lines(choice: Choice, study: StudyRecord) -> list[str]:
    others = [equal for equal in choice.equals if equal.trial.number != choice.trial.number]
    if not others:
        return [] if choice.equals or _is_known(study) else [_unknown(study)]
    hint = [] if all(e.difference.is_paired for e in choice.equals) else [_hint(choice.equals[0].difference)]
    shown = first_of([_equal_text(equal) for equal in others], MAX_EQUALS_SHOWN)
    blurred = [_blurred(choice.equals)] if choice.difference is None and _is_blurred(choice) else []
    return [f"also equal to trial {choice.best.number} within the noise: {', '.join(shown)}", *blurred, *hint]


def _equal_text(equal: Equal) -> str:
    return f"{equal.trial.number} ({equal.trial.top1:.2f} %, {equal.trial.latency.mean_ms:.2f} ms)"


def _is_blurred(choice: Choice) -> bool:
    return any(equal.difference.blur > MAX_BLUR for equal in choice.equals)


def _blurred(equals: tuple[Equal, ...]) -> str:
    worst = max((equal.difference for equal in equals), key=lambda difference: difference.blur)
    return (
        f"{worst.num_images} images may hide {worst.blur:.1f} points, more than {MAX_BLUR:g}, so no other is preferred "
        f"for being faster or simpler"
    )


def _hint(difference: Difference) -> str:
    return (
        f"these are top-1s on {difference.num_images} images, not compared image by image: --evaluate does that, which "
        f"tells more trials apart"
    )


def _is_known(study: StudyRecord) -> bool:
    return study.num_val_images is not None


def _unknown(study: StudyRecord) -> str:
    return (
        f"study {study.name!r} did not note how many validation images it has, so nothing is said of noise; "
        f"--evaluate compares the candidates image by image"
    )
