"""What in a study's folder is of no use any more, and its removal."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from search.keep_rules import checkpoints_to_keep
from search.records import StudyRecord
from search.search_config import KeepCheckpoints
from spvit.errors import StorageError
from trainers.checkpoint_names import checkpoint_folders
from trainers.safe_folder import TEMPORARY, remove_folder

TRIALS, SNAPSHOTS = "trials", "ray"


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """A folder that is of no use, its size in bytes, and why in words."""

    path: Path
    num_bytes: int
    why: str


def removals(study: StudyRecord, folder: Path, keep: KeepCheckpoints) -> tuple[Removal, ...]:
    """What `clean` would remove from a study that nobody is running; touches nothing.

    Checkpoints that are neither needed to go on nor wanted by the rule, half-written ones of workers that died, and
    Ray's snapshots, which are never read. What was set aside as damaged stays: it may be evidence.
    """
    found = [*_checkpoints(study, folder, keep), *_half_written(folder), *_snapshots(folder)]
    return tuple(Removal(path=path, num_bytes=folder_bytes(path), why=why) for path, why in found)


def remove(doomed: Iterable[Removal]) -> None:
    """Removes folders, each in one step.

    Raises:
        StorageError: the file system refuses.
    """
    for removal in doomed:
        try:
            remove_folder(removal.path)
        except OSError as error:
            raise StorageError(
                f"{removal.path} cannot be removed: {error.strerror}; make the folder writable and try again"
            ) from None


def unneeded_checkpoints(directory: Path, num_kept: int) -> tuple[Path, ...]:
    """A trial's checkpoints but the newest ones."""
    folders = checkpoint_folders(directory)
    return folders[: len(folders) - num_kept]


def remove_half_written(folder: Path) -> None:
    """What workers that died left of checkpoints which they were writing or removing; for a study that nobody trains.

    Raises:
        OSError: the file system refuses.
    """
    for path, _ in _half_written(folder):
        shutil.rmtree(path)


def folder_bytes(folder: Path) -> int:
    """The size of a folder's files together."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _checkpoints(study: StudyRecord, folder: Path, keep: KeepCheckpoints) -> Iterator[tuple[Path, str]]:
    for root, num_kept in checkpoints_to_keep(study, keep).items():
        for path in unneeded_checkpoints(folder / TRIALS / str(root), num_kept):
            yield path, f"trial {root} keeps {num_kept or 'none'}"


def _half_written(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted((folder / TRIALS).glob(f"*/{TEMPORARY}*")):
        yield path, "half written"


def _snapshots(folder: Path) -> Iterator[tuple[Path, str]]:
    if (folder / SNAPSHOTS).is_dir():
        yield folder / SNAPSHOTS, "Ray's snapshots"
