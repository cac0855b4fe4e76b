"""One exported file's promises beside what it does here and now. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from search.certificate import Verdict, elapsed_verdict, ratio_verdict, worse
from search.check_report import CheckLine, note, passed_if
from search.format_certificate import MAX_DIFFERENCE, FormatCertificate, FormatTiming
from search.formats import ExportFormat

OTHER_SHARE = 0.001
"""Images whose answer may be another one: near ties fall differently on CPUs of another kind."""
BETWEEN_RUNS = 0.03
"""By how much a ratio may be worse than its interval was: it moves by a hundredth from run to run (see `ratio`)."""


def format_lines(measured: FormatCertificate, promised: FormatCertificate, *, is_here: bool) -> Iterator[CheckLine]:
    """Answers, accuracy and speed of one file."""
    name = measured.format.file
    differs = f"logits within {measured.max_difference:.1e} of the model, in batches of 1, 5 and more"
    yield passed_if(f"{name} answers", holds=measured.agrees, text=f"{differs} ({MAX_DIFFERENCE:.0e} is allowed)")
    yield top1_line(name, measured, promised)
    yield speed_line(name, measured, promised, is_here=is_here)


def budget_line(
    measured: FormatCertificate, max_latency_ms: float, *, dense_ms: float | None, is_target: bool
) -> CheckLine:
    """Whether the budget is kept: on the wall, and for the weights also beside a dense model of `dense_ms`."""
    what, timing = f"{measured.format.file} budget", measured.timing
    if not is_target:
        return note(what, f"{timing.elapsed_text} here; the budget of {max_latency_ms:.3f} ms is another device's")
    verdict = elapsed_verdict(timing.elapsed, max_latency_ms)
    slower = ""
    if dense_ms is not None and measured.format is ExportFormat.SAFETENSORS:
        beside = ratio_verdict(timing.ratio_low, timing.ratio_high, dense_ms=dense_ms, max_latency_ms=max_latency_ms)
        if beside is Verdict.MET and verdict is not Verdict.MET:
            slower = "; beside the dense model it is fast enough: this machine is throttled or busy"
        verdict = worse(verdict, beside)
    text = f"{max_latency_ms:.3f} ms {verdict}: {timing.elapsed_text}{slower}"
    return passed_if(what, holds=verdict is Verdict.MET, text=text)


class Measured(Protocol):
    """Something that was run on the validation split and timed beside the dense model."""

    @property
    def val_top1(self) -> float:
        """In percent."""

    @property
    def num_images(self) -> int:
        """Of the split."""

    @property
    def timing(self) -> FormatTiming:
        """Of a batch."""


def top1_line(name: str, measured: Measured, promised: Measured) -> CheckLine:
    """Whether it is as accurate as it was certified to be."""
    allowed = 100.0 * max(1, OTHER_SHARE * measured.num_images) / measured.num_images
    is_same = measured.num_images == promised.num_images and abs(measured.val_top1 - promised.val_top1) <= allowed
    text = (
        f"{measured.val_top1:.2f} % of {measured.num_images} images, certified {promised.val_top1:.2f} % of "
        f"{promised.num_images}"
    )
    return passed_if(f"{name} top-1", holds=is_same, text=text)


def speed_line(name: str, measured: Measured, promised: Measured, *, is_here: bool) -> CheckLine:
    """Whether it is as much faster than the dense model as it was certified to be."""
    what, now, then = f"{name} speed-up", measured.timing, promised.timing
    text = f"{now.speed_up_text}, certified {then.speed_up_text}"
    if then.speed_up is None:
        return note(what, f"none was claimed; {now.speed_up_text}")
    if not is_here:
        return note(what, text)
    return passed_if(what, holds=now.ratio_low <= then.ratio_high + BETWEEN_RUNS and now.ratio_high < 1.0, text=text)
