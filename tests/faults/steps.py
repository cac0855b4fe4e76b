"""Every step of a checkpoint's saving and of an export's replacement, each killed once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faulty_steps import export_again, make_export, save, save_third
from harness import KILLED, fork, kills_at, meddled
from judging import Tally

from search.verify.load_files import load_exports, load_leftovers
from trainers.checkpoint import latest_checkpoint

OF_A_SAVE = "openat,write,fsync,rename,mkdir,unlinkat,rmdir"
OF_AN_EXPORT = "mkdir,rename,renameat2,fsync,rmdir,unlinkat,unlink"
Point = tuple[str, str]
"""What strace injects, and into which calls."""


def saving(folder: Path, point: Point) -> tuple[int, list[str]]:
    """A third checkpoint that something befalls; how its process ended, and its calls."""
    folder.mkdir()
    for step in (1, 2):
        save(folder / "trial", step)
    process, lines = meddled(lambda: fork(save_third, folder), folder, *point)
    process.join()
    return process.exitcode, lines


def save_points(folder: Path) -> list[Point]:
    """Every kill of a saving."""
    code, lines = saving(folder, ("", OF_A_SAVE))
    assert code == 0
    return kills_at(lines)


def killed_save(folder: Path, point: Point) -> Tally:
    """What is wrong after a saving was killed there; the next one has to work."""
    code, _ = saving(folder, point)
    wrong = [] if code in {KILLED, 0} else [f"the process ended with {code}"]  # 0: it took fewer steps this time
    found = latest_checkpoint(folder / "trial")
    if found is None or found.step not in {2, 3}:
        wrong.append(f"the newest whole checkpoint is {found}")
    save(folder / "trial", 4)
    after = latest_checkpoint(folder / "trial")
    if after is None or after.step != 4 or list((folder / "trial").glob("*.damaged")):
        wrong.append("the next one could not be saved, or something is damaged")
    shutil.rmtree(folder)
    return Tally(faults=int(code == KILLED), violations=[f"{point}: {text}" for text in wrong])


def export_points(folder: Path) -> list[Point]:
    """Makes an export, and tells every kill of its replacement."""
    _end(fork(make_export, folder))
    process, lines = meddled(lambda: fork(export_again, folder), folder, "", OF_AN_EXPORT)
    _end(process)
    return kills_at(lines)


def killed_export(folder: Path, point: Point) -> Tally:
    """What is wrong after a replacement was killed there, and after the next one."""
    study = folder / "runs" / "small"
    process, _ = meddled(lambda: fork(export_again, folder), folder, *point)
    process.join()
    code = process.exitcode
    wrong = [] if code in {KILLED, 0} else [f"the process ended with {code}"]
    exports = {export.path: export.damage for export in load_exports(study)}
    if exports.get("export/model") != "":
        wrong.append(f"there is no whole export: {exports}")
    _end(fork(export_again, folder))
    if (left := load_leftovers(study)) or [export.path for export in load_exports(study)] != ["export/model"]:
        wrong.append(f"left behind: {left}")
    return Tally(faults=int(code == KILLED), violations=[f"{point}: {text}" for text in wrong])


def every(points: list[Point], kill: Callable[[Point], Tally]) -> Tally:
    """One kill after the other."""
    tally = Tally()
    for point in points:
        tally += kill(point)
    return tally


def _end(process: Any) -> None:
    process.join()
    assert process.exitcode == 0
