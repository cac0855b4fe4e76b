"""What an export promises of each of its schedules beside what they do here and now. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from search.certificate import Verdict, elapsed_verdict, ratio_verdict, worse
from search.check_report import CheckLine, note, passed_if
from search.format_checks import BETWEEN_RUNS, speed_line, top1_line
from search.schedule_certificate import ScheduleCertificate
from spvit.errors import NothingFeasibleError
from spvit.exported_schedules import best_within


def schedule_lines(
    number: int, measured: ScheduleCertificate, promised: ScheduleCertificate, *, dense_ms: float, is_here: bool
) -> Iterator[CheckLine]:
    """Accuracy and speed of one schedule, and whether it is still as fast as it is chosen for."""
    name = f"schedule {number}"
    yield top1_line(name, measured, promised)
    yield speed_line(name, measured, promised, is_here=is_here)
    yield _latency_line(name, measured, promised.high_ms(dense_ms), dense_ms=dense_ms, is_here=is_here)


def chosen_line(
    max_latency_ms: float,
    measured: Sequence[ScheduleCertificate],
    promised: Sequence[ScheduleCertificate],
    *,
    dense_ms: float,
) -> CheckLine:
    """Whether what is loaded for a latency keeps it here."""
    what, known = "budget", [each.exported(dense_ms) for each in promised]
    try:
        number = known.index(best_within(known, max_latency_ms))
    except NothingFeasibleError as error:
        return passed_if(what, holds=False, text=str(error))
    timing = measured[number].timing
    verdict = elapsed_verdict(timing.elapsed, max_latency_ms)
    text = f"{max_latency_ms:.3f} ms loads schedule {number}, {verdict}: {timing.elapsed_text}"
    return passed_if(what, holds=verdict is Verdict.MET, text=text)


def _latency_line(
    name: str, measured: ScheduleCertificate, promised_ms: float, *, dense_ms: float, is_here: bool
) -> CheckLine:
    """It fails where the whole interval is beyond the promise by more than runs differ."""
    what, timing, limit_ms = f"{name} latency", measured.timing, (1.0 + BETWEEN_RUNS) * promised_ms
    text = f"{timing.elapsed_text}, certified up to {promised_ms:.3f} ms"
    if not is_here:
        return note(what, text)
    by_wall = elapsed_verdict(timing.elapsed, limit_ms)
    beside = ratio_verdict(timing.ratio_low, timing.ratio_high, dense_ms=dense_ms, max_latency_ms=limit_ms)
    if beside is not Verdict.NOT_MET and by_wall is Verdict.NOT_MET:
        text += "; beside the dense model it is fast enough: this machine is throttled or busy"
    return passed_if(what, holds=worse(by_wall, beside) is not Verdict.NOT_MET, text=text)
