"""Runs a part of a benchmark in a process of its own, whose memory and imports are then its alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping


def last_line(
    script: str, *arguments: object, environment: Mapping[str, str] | None = None, shows_progress: bool = False
) -> str:
    """What a script printed last. Where it fails, this process ends with what it said.

    Args:
        script: its file.
        arguments: of its command line.
        environment: variables beside those of this process.
        shows_progress: what it writes to stderr goes to this process's, as it comes.
    """
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=None if shows_progress else subprocess.PIPE,
        text=True,
        env=os.environ | dict(environment or {}),
    )
    if done.returncode:
        sys.exit(
            f"{script} {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr or ''}"
        )
    return done.stdout.splitlines()[-1]
