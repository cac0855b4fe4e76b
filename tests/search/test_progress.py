import io
import sys

import pytest

from search.commands.progress import progress_bar


class Gone(io.StringIO):
    """A stream whose reader went away."""

    def __init__(self, *, is_terminal):
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("is_terminal", [True, False])
def test_work_goes_on_when_nobody_reads_its_progress_any_more(monkeypatch, is_terminal):
    monkeypatch.setattr(sys, "stderr", Gone(is_terminal=is_terminal))
    with progress_bar("measuring") as progress:
        for share in (0.0, 0.5, 1.0):
            progress(share, "blocks")


def test_elsewhere_than_on_a_terminal_progress_is_a_line_per_quarter(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar("measuring") as progress:
        for percent in range(101):
            progress(percent / 100, "")
    assert stream.getvalue().splitlines() == [f"measuring: {share}%" for share in (0, 25, 50, 75, 100)]
