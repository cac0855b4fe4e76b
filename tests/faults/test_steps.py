"""F13, F14, F15: a process is killed, or its disk fails, at a step of the system while it saves a checkpoint.

F30: the same while an export takes the place of an earlier one. `make faults` goes through every step.
"""

import random

import pytest
from faulty_steps import export_again, make_export, save, save_third
from harness import INJECTED, KILLED, fork, kills_at, meddled

from search.verify.load_files import load_exports, load_leftovers
from spvit.errors import ExitCode
from trainers.checkpoint import latest_checkpoint

pytestmark = pytest.mark.faults
OF_A_SAVE = "openat,write,fsync,rename,mkdir,unlinkat,rmdir"
OF_AN_EXPORT = "mkdir,rename,renameat2,fsync,rmdir,unlinkat,unlink"


def _saving(folder, inject, trace):
    folder.mkdir()
    for step in (1, 2):
        save(folder / "trial", step)
    process, lines = meddled(lambda: fork(save_third, folder), folder, inject, trace)
    process.join()
    return process.exitcode, lines


def test_a_checkpoint_that_is_killed_anywhere_leaves_a_whole_one(tmp_path):
    seed = 0
    code, lines = _saving(tmp_path / "whole", "", OF_A_SAVE)
    assert code == 0
    points = kills_at(lines)
    print(f"seed {seed}, {len(points)} steps")
    for number, point in enumerate(random.Random(seed).sample(points, 6)):
        folder = tmp_path / str(number)
        code, _ = _saving(folder, *point)
        assert code == KILLED
        found = latest_checkpoint(folder / "trial")
        assert found.step in {2, 3}
        save(folder / "trial", 4)
        assert latest_checkpoint(folder / "trial").step == 4
        assert not list((folder / "trial").glob("*.damaged"))


@pytest.mark.parametrize(("error", "trace"), [("EIO", "fsync"), ("ENOSPC", "write"), ("EROFS", "rename")])
def test_a_disk_that_fails_anywhere_is_an_error_and_never_half_a_checkpoint(error, trace, tmp_path):
    for step in range(1, 12):
        folder = tmp_path / str(step)
        code, lines = _saving(folder, f"error={error}:when={step}", trace)
        found = latest_checkpoint(folder / "trial").step
        if not any(INJECTED in line for line in lines):
            assert (code, found) == (0, 3)
            break
        assert (code, found) in {(ExitCode.STORAGE, 2), (ExitCode.STORAGE, 3)}
    else:
        pytest.fail("there were more steps than were tried")
    assert step > 1


def test_an_export_that_is_killed_anywhere_leaves_the_old_or_the_new_one(tmp_path):
    seed = 0
    make = fork(make_export, tmp_path)
    make.join()
    assert make.exitcode == 0
    folder = tmp_path / "runs" / "small"
    _, lines = meddled(lambda: fork(export_again, tmp_path), tmp_path, "", OF_AN_EXPORT)
    points = kills_at(lines)
    print(f"seed {seed}, {len(points)} steps")
    for point in random.Random(seed).sample(points, 4):
        process, _ = meddled(lambda: fork(export_again, tmp_path), tmp_path, *point)
        process.join()
        assert process.exitcode == KILLED
        exports = {export.path: export.damage for export in load_exports(folder)}
        assert exports["export/model"] == ""
        again = fork(export_again, tmp_path)
        again.join()
        assert load_leftovers(folder) == ()
        assert [export.path for export in load_exports(folder)] == ["export/model"]
