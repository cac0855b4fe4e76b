"""What a promise of one file comes to, from what was measured alone."""

import sys
from dataclasses import replace

import pytest

from latency_tables.elapsed import ElapsedTime
from search.check_report import CheckReport, CheckState
from search.format_certificate import FormatCertificate, FormatTiming
from search.format_checks import budget_line, format_lines
from search.formats import ALL_FORMATS, ExportFormat, available_formats, check_formats, formats_named
from spvit.errors import ConfigError, UsageError


def elapsed(p50_ms, spread=0.02):
    return ElapsedTime(p50_ms=p50_ms, low_ms=p50_ms * (1 - spread), high_ms=p50_ms * (1 + spread), p95_ms=1.3 * p50_ms)


def certificate(*, format_=ExportFormat.SAFETENSORS, p50_ms=6.0, ratio=0.6, **changes):
    timing = FormatTiming(
        elapsed=elapsed(p50_ms),
        dense_elapsed=elapsed(10.0),
        ratio=ratio,
        ratio_low=ratio - 0.01,
        ratio_high=ratio + 0.01,
    )
    made = FormatCertificate(
        format=format_, runtime="eager", ran_on="cpu", val_top1=80.0, num_images=1000, num_other_answers=0,
        max_difference=1e-6, timing=timing,
    )  # fmt: skip
    return replace(made, **changes)


def states(measured, promised=None, *, is_here=True):
    lines = format_lines(measured, promised or certificate(), is_here=is_here)
    return {line.what.rpartition(" ")[2]: line.state for line in lines}


def test_a_file_that_does_what_it_did_keeps_every_promise():
    assert set(states(certificate()).values()) == {CheckState.PASS}


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"max_difference": 2e-4}, "answers"),
        ({"val_top1": 79.8}, "top-1"),
        ({"num_images": 999}, "top-1"),
        ({"ratio": 0.7}, "speed-up"),
    ],
)
def test_each_broken_promise_fails_its_own_line(changes, failed):
    found = states(certificate(**changes))
    assert [what for what, state in found.items() if state is CheckState.FAIL] == [failed]


def test_one_image_in_a_thousand_may_have_another_answer():
    assert states(certificate(val_top1=79.9))["top-1"] is CheckState.PASS


def test_a_speed_up_within_the_noise_is_neither_claimed_nor_required():
    within = certificate(ratio=0.995)
    assert within.timing.speed_up is None
    assert "no speed-up beyond the noise" in within.timing.speed_up_text
    assert states(certificate(ratio=1.2), within)["speed-up"] is CheckState.NOTE


def test_elsewhere_speed_is_a_note():
    assert states(certificate(ratio=0.9), is_here=False)["speed-up"] is CheckState.NOTE
    assert budget_line(certificate(), 1.0, dense_ms=10.0, is_target=False).state is CheckState.NOTE


@pytest.mark.parametrize(
    ("p50_ms", "ratio", "budget_ms", "state"),
    [
        (6.0, 0.6, 7.0, CheckState.PASS),
        (6.0, 0.6, 6.05, CheckState.FAIL),  # within the interval: not shown to be kept
        (9.0, 0.6, 7.0, CheckState.FAIL),  # throttled: fast beside the dense model, late on the wall
        (6.0, 0.8, 7.0, CheckState.FAIL),  # in time here, but not on the scale of the table
    ],
)
def test_a_budget_is_kept_on_the_wall_and_beside_the_dense_model(p50_ms, ratio, budget_ms, state):
    line = budget_line(certificate(p50_ms=p50_ms, ratio=ratio), budget_ms, dense_ms=10.0, is_target=True)
    assert line.state is state
    assert line.text.endswith("throttled or busy") is (p50_ms == 9.0)


def test_what_the_table_knows_nothing_of_is_judged_by_the_wall_alone():
    onnx = certificate(format_=ExportFormat.ONNX, ratio=0.8)
    assert budget_line(onnx, 7.0, dense_ms=10.0, is_target=True).state is CheckState.PASS


def test_one_failed_line_fails_the_report_and_notes_do_not():
    lines = tuple(format_lines(certificate(max_difference=1.0), certificate(), is_here=False))
    report = CheckReport(directory="model", lines=lines)
    assert not report.is_passed
    assert report.to_text().splitlines()[-1] == "FAIL  model: 1 of 3 lines failed"
    passed = CheckReport(directory="model", lines=tuple(format_lines(certificate(), certificate(), is_here=False)))
    assert passed.is_passed
    assert passed.to_dict()["is_passed"]


def test_without_its_packages_onnx_is_left_out_unless_it_was_asked_for(monkeypatch):
    assert available_formats() == ALL_FORMATS
    monkeypatch.setattr("search.formats.find_spec", lambda package: None if package == "onnxscript" else package)
    assert available_formats() == (ExportFormat.SAFETENSORS, ExportFormat.TORCH_EXPORT)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"onnxscript, which is not installed.*--format torch_export"):
        check_formats([ExportFormat.ONNX])


def test_formats_are_named_as_they_are_and_others_refused():
    assert formats_named(["torch_export", "onnx"]) == (ExportFormat.TORCH_EXPORT, ExportFormat.ONNX)
    with pytest.raises(UsageError, match=r"formats must be of safetensors, onnx, torch_export, but 'nonsense' was"):
        formats_named(["onnx", "nonsense"])
