"""What `retarget` prints, for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_uppercase

from search.commands.further_text import further_lines, interval, rates
from search.commands.output import columns
from search.records import StudyRecord, TrialState
from search.retarget import FixedSchedule, MovedTrial, Place, Retargeted, best_on_every_device
from search.retargeting import DeviceReport
from search.summary import study_hypervolume

HEADING = ["trial", "top-1 %", "old ms", "new ms", "interval", "speed-up", "front", "keep rates"]


def retarget_text(study: StudyRecord, reports: Sequence[DeviceReport]) -> str:
    """The study on one other device, or side by side on several."""
    lines = [f"study        {study.name}", f"trials       {_used(study)}"]
    if len(reports) == 1:
        (report,) = reports
        return "\n".join([*lines, *_device(report), "", *_moved(report.result.moved), "", *_found(report)])
    lines += ["", *_side_by_side(reports), ""]
    for letter, report in zip(ascii_uppercase, reports, strict=False):
        lines += [f"device {letter}", *_device(report), *_found(report), ""]
    return "\n".join([*lines, f"everywhere   {_everywhere(reports)}"])


def _used(study: StudyRecord) -> str:
    pruned = sum(trial.state is TrialState.PRUNED for trial in study.trials)
    running = sum(not trial.state.is_finished for trial in study.trials)
    parts = [f"{len(study.finished)} trained to the end"]
    if pruned:
        parts.append(f"{pruned} stopped early and not used, as the top-1 that they would have reached is not known")
    if running:
        parts.append(f"{running} not finished yet")
    return "; ".join(parts)


def _device(report: DeviceReport) -> list[str]:
    result = report.result
    old_ms, new_ms = result.before.dense_latency.mean_ms, result.after.dense_latency.mean_ms
    lines = [
        f"table        {report.file.path}",
        f"device       {report.device}",
        f"dense model  {_percent(result.before.dense_top1)}, {old_ms:.3f} ms -> {new_ms:.3f} ms",
    ]
    if result.fixed is not None:
        lines.append(f"fixed        {_fixed(result.fixed, new_ms)}")
    return [*lines, f"budget       {result.budget.max_ms:.3f} ms ({result.budget.source})"]


def _fixed(fixed: FixedSchedule, dense_ms: float) -> str:
    old = "not tried" if fixed.old is None else f"{fixed.old.mean_ms:.3f} ms"
    label = fixed.label.removeprefix("fixed ")
    speed_up = dense_ms / fixed.new.mean_ms
    return (
        f"{label}: {_percent(fixed.top1)}, {old} -> {fixed.new.mean_ms:.3f} ms, {speed_up:.2f} times as fast as dense"
    )


def _moved(moved: Iterable[MovedTrial]) -> list[str]:
    return columns([HEADING, *(_row(trial) for trial in moved)]).splitlines()


def _row(trial: MovedTrial) -> list[str]:
    return [
        str(trial.number),
        f"{trial.top1:.2f}",
        f"{trial.old.mean_ms:.3f}",
        f"{trial.new.mean_ms:.3f}",
        interval(trial.new),
        f"{trial.speed_up:.2f}",
        _place(trial.place),
        rates(trial.keep_rates),
    ]


def _side_by_side(reports: Sequence[DeviceReport]) -> list[str]:
    """One row for each trial: for each device its latency and what becomes of its place on the front."""
    devices = [{trial.number: trial for trial in report.result.moved} for report in reports]
    names = [text for letter in ascii_uppercase[: len(reports)] for text in (f"{letter} ms", "front")]
    rows = [["trial", "top-1 %", "old ms", *names, "keep rates"]]
    for trial in reports[0].result.moved:
        there = (device[trial.number] for device in devices)
        cells = [text for moved in there for text in (f"{moved.new.mean_ms:.3f}", _place(moved.place))]
        start = [str(trial.number), f"{trial.top1:.2f}", f"{trial.old.mean_ms:.3f}"]
        rows.append([*start, *cells, rates(trial.keep_rates)])
    return columns(rows).splitlines()


def _found(report: DeviceReport) -> list[str]:
    result = report.result
    old, new = study_hypervolume(result.before), study_hypervolume(result.after)
    return [
        f"hypervolume  {old:.1f} -> {new:.1f} % x ms (over 0 % at the dense model's latency)",
        f"old front    its trials reach {100 * result.old_front_share:.1f} % of the new front's hypervolume",
        *_recommended(result),
        *further_lines(report.further),
    ]


def _recommended(result: Retargeted) -> list[str]:
    best = result.recommended
    if best is None:
        return ["recommended  no finished trial is within the budget"]
    latency = f"{best.new.mean_ms:.3f} ms (at most {best.new.high_ms:.3f} ms)"
    speed_up = f"{best.speed_up:.2f} times as fast as dense"
    return [
        f"recommended  trial {best.number}: {best.top1:.2f} % at {latency}, {speed_up}; {_before(result, best)}",
        *_instead(result),
        f"             spvit-search export {result.before.name} --trial {best.number}",
        *(f"within       {limit_ms:.3f} ms: {_within(result, limit_ms)}" for limit_ms in result.budget.smaller_ms),
    ]


def _instead(result: Retargeted) -> list[str]:
    choice = result.choice
    if choice is None or not choice.reason:
        return []
    best = choice.best
    return [
        f"             instead of trial {best.number}: {best.top1:.2f} % at {best.latency.mean_ms:.3f} ms",
        f"             {choice.reason}",
    ]


def _within(result: Retargeted, limit_ms: float) -> str:
    best = result.best_within(limit_ms)
    return (
        "no finished trial" if best is None else f"trial {best.number}: {best.top1:.2f} % at {best.new.mean_ms:.3f} ms"
    )


def _before(result: Retargeted, best: MovedTrial) -> str:
    match result.recommended_before:
        case None:
            return "on the study's own device none is within the budget"
        case best.number:
            return "on the study's own device it is the same"
        case number:
            return f"on the study's own device it is trial {number}"


def _everywhere(reports: Sequence[DeviceReport]) -> str:
    best = best_on_every_device([report.result for report in reports])
    if best is None:
        return "no finished trial is within the budget of every device"
    return f"trial {best.number}, {best.top1:.2f} %: the best of those that are within the budget of every device"


def _percent(top1: float | None) -> str:
    return "top-1 not known" if top1 is None else f"{top1:.2f} %"


def _place(place: Place) -> str:
    return "-" if place is Place.OFF else str(place)
