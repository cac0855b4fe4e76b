"""F13, F14, F15: a process is killed, or its disk fails, at a step of the system while it saves a checkpoint.

F30: the same while an export takes the place of an earlier one. `make faults` goes through every step.
"""

import random

import pytest
from harness import INJECTED
from steps import export_points, killed_export, killed_save, save_points, saving

from spvit.errors import ExitCode
from trainers.checkpoint import latest_checkpoint

pytestmark = [pytest.mark.large, pytest.mark.faults]


def test_a_checkpoint_that_is_killed_anywhere_leaves_a_whole_one(tmp_path):
    seed, points = 0, save_points(tmp_path / "whole")
    print(f"seed {seed}, {len(points)} steps")
    for number, point in enumerate(random.Random(seed).sample(points, 6)):
        assert killed_save(tmp_path / str(number), point).violations == []


@pytest.mark.parametrize(("error", "trace"), [("EIO", "fsync"), ("ENOSPC", "write"), ("EROFS", "rename")])
def test_a_disk_that_fails_anywhere_is_an_error_and_never_half_a_checkpoint(error, trace, tmp_path):
    for step in range(1, 12):
        folder = tmp_path / str(step)
        code, lines = saving(folder, (f"error={error}:when={step}", trace))
        found = latest_checkpoint(folder / "trial").step
        if not any(INJECTED in line for line in lines):
            assert (code, found) == (0, 3)
            break
        assert (code, found) in {(ExitCode.STORAGE, 2), (ExitCode.STORAGE, 3)}
    else:
        pytest.fail("there were more steps than were tried")
    assert step > 1


def test_an_export_that_is_killed_anywhere_leaves_the_old_or_the_new_one(tmp_path):
    seed, points = 0, export_points(tmp_path)
    print(f"seed {seed}, {len(points)} steps")
    for point in random.Random(seed).sample(points, 3):
        assert killed_export(tmp_path, point).violations == []
