"""A tabulated search on real Ray in a process of its own, all of whose processes can be found again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.study import read_study
from spvit.errors import SpvitError

SCRIPT = Path(__file__).parent / "tabulated_search.py"
MARK = "SPVIT_TEST_MARK"
NUM_TRIALS = 3


class Search:
    """A driver of its own process; everything that it starts carries a mark."""

    def __init__(self, folder, *, epoch_seconds, **limits):
        self.folder = folder
        paths = [str(SCRIPT.parent), str(SCRIPT.parents[1] / "search"), str(SCRIPT.parents[2])]
        arguments = [str(folder), str(NUM_TRIALS), str(epoch_seconds), json.dumps(limits)]
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", MARK: str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, condition):
        for _ in range(400):
            time.sleep(0.3)
            try:
                study = read_study(self.folder / "toy")
            except (SpvitError, KeyError):
                continue
            if condition(study):
                return
        pytest.fail("the search did not get that far")

    def end(self):
        """Its exit code and output, and the study that it left."""
        output, _ = self.process.communicate(timeout=240)
        assert "Traceback" not in output
        return self.process.returncode, output, read_study(self.folder / "toy")

    def has_left_processes(self):
        mark = f"{MARK}={self.folder}\0".encode()
        return any(mark in _environment(path) for path in Path("/proc").glob("[0-9]*"))


def _environment(process):
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
