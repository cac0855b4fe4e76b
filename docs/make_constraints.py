"""Writes `constraints.txt`: the exact versions that the tests ran with. Run by `make lock`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TARGET = Path(__file__).parents[1] / "constraints.txt"
HEADER = """\
# The exact versions this version of spvit-search was tested with: pip install -c constraints.txt -e .
# Refreshed by `make lock`, which writes down what is installed. Local labels such as torch's +cpu are left out, so that
# the same file serves CPU and CUDA builds.
"""
LEFT_OUT = {"spvit-search", "pip", "setuptools", "wheel"}


def constraints(frozen: Iterable[str]) -> str:
    """The file's text from the lines of `pip freeze`: sorted, exact, without local labels."""
    pins = sorted(
        (re.sub(r"\+.*", "", line) for line in frozen if "==" in line and line.split("==")[0] not in LEFT_OUT),
        key=str.lower,
    )
    return HEADER + "\n".join(pins) + "\n"


if __name__ == "__main__":
    freeze = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--exclude-editable"], check=True, capture_output=True, text=True
    )
    TARGET.write_text(constraints(freeze.stdout.splitlines()), encoding="utf-8")
    print(f"wrote {TARGET}")
