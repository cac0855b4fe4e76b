"""Checkpoints that every machine can reach: published whole, to a shared folder or a bucket, and fetched elsewhere."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from search.secrets import redacted
from spvit.errors import ConfigError, StorageError
from spvit.wording import first_line
from trainers.checkpoint_names import NUM_KEPT, checkpoint_name, checkpoint_step, checkpoints_in
from trainers.safe_folder import MANIFEST, DamagedFolderError, manifest_files, set_aside, verify_folder

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")
WAITS_S = (0.5, 2.0)
"""Before a request is made again. Object stores fail now and then, and say so."""
FETCHING = ".fetching-"
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class CheckpointStore:
    """Checkpoints of one study's trials under a URL.

    An object store renames nothing, but puts each file in one step: a checkpoint is there once its manifest is, which
    is written last and removed first. What is fetched is compared with the manifest's hashes.

    Args:
        url: a folder's path, or what fsspec takes: `s3://bucket/folder`, `gs://...`, `file:///...`.

    Raises:
        ConfigError: nothing installed can open such a URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._files, self._root = _opened(url)

    def check(self) -> None:
        """Writes, reads and removes a small file.

        Raises:
            StorageError: one of them is refused.
        """
        probe = f"{self._root}/.probe-{time.time_ns():x}"
        self._tried("be used", lambda: self._probe(probe))

    def has(self, trial: str) -> bool:
        """Whether any checkpoint of a trial is published.

        Raises:
            StorageError: the store refuses.
        """
        return bool(self._tried("be listed", lambda: self._published(trial)))

    def publish(self, trial: str, directory: Path) -> None:
        """Copies a trial's newest checkpoint to the store, unless it is there; keeps the newest two.

        Args:
            trial: name of the trial's folder in the store.
            directory: the trial's folder on this machine.

        Raises:
            StorageError: the store refuses. What is published stays as it was.
        """
        found = checkpoints_in(directory)
        if found:
            self._tried("be written", lambda: self._put(trial, found[-1][1]))

    def seed(self, trial: str, *, source: str, step: int) -> None:
        """Gives a trial that has none another one's checkpoint to go on from; nothing if that one is not published.

        Args:
            trial: name of the trial's folder in the store.
            source: name of the other one's.
            step: of the checkpoint.

        Raises:
            StorageError: the store refuses.
        """
        self._tried("be copied", lambda: self._copied(trial, source, checkpoint_name(step)))

    def fetch(self, trial: str, directory: Path) -> Path | None:
        """Makes a trial's folder on this machine hold the newest published checkpoint, as its newest.

        A newer one that was never published was not reported either, and is set aside: all machines of a trial go on
        from the same epoch. A damaged one is passed over.

        Args:
            trial: name of the trial's folder in the store.
            directory: the trial's folder on this machine; made if absent.

        Returns:
            The checkpoint's folder; None if none is published.

        Raises:
            StorageError: the store or this machine's disk refuses.
        """
        published = self._tried("be listed", lambda: self._published(trial))
        newest = next((path for step in reversed(published) if (path := self._fetched(trial, step, directory))), None)
        for step, path in checkpoints_in(directory):
            if newest is None or step > (checkpoint_step(newest.name) or 0):
                set_aside(path, "unpublished")
        return newest

    def _published(self, trial: str) -> list[int]:
        self._files.invalidate_cache()
        folder = f"{self._root}/{trial}"
        if not self._files.exists(folder):
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in self._files.ls(folder, detail=False)]
        steps = {step: name for name in names if (step := checkpoint_step(name)) is not None}
        return sorted(step for step, name in steps.items() if self._files.exists(f"{folder}/{name}/{MANIFEST}"))

    def _put(self, trial: str, folder: Path) -> None:
        published = self._published(trial)
        if checkpoint_step(folder.name) in published:
            return
        target = f"{self._root}/{trial}/{folder.name}"
        self._files.makedirs(target, exist_ok=True)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST):
            self._files.put_file(str(path), f"{target}/{path.name}")
        for step in published[: len(published) + 1 - NUM_KEPT]:
            old = f"{self._root}/{trial}/{checkpoint_name(step)}"
            self._files.rm_file(f"{old}/{MANIFEST}")
            self._files.rm(old, recursive=True)

    def _copied(self, trial: str, source: str, name: str) -> None:
        step = checkpoint_step(name)
        if self._published(trial) or step not in self._published(source):
            return
        target = f"{self._root}/{trial}/{name}"
        self._files.makedirs(target, exist_ok=True)
        paths = [str(path) for path in self._files.ls(f"{self._root}/{source}/{name}", detail=False)]
        for path in sorted(paths, key=lambda path: path.endswith(f"/{MANIFEST}")):
            self._files.cp_file(path, f"{target}/{path.rpartition('/')[2]}")

    def _fetched(self, trial: str, step: int, directory: Path) -> Path | None:
        """The checkpoint on this machine; None if what is published is damaged."""
        target = directory / checkpoint_name(step)
        temporary = directory / f"{FETCHING}{os.getpid()}-{target.name}"
        try:
            self._download(f"{self._root}/{trial}/{target.name}", target, temporary)
        except DamagedFolderError as reason:
            logger.warning("Checkpoint %s is not used: it is damaged, %s.", redacted(f"{self._url}/{trial}"), reason)
            return None
        except OSError as error:
            raise StorageError(
                f"{target}: the checkpoint could not be copied here: {error.strerror}. Free space or make the folder "
                f"writable, then resume"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _download(self, source: str, target: Path, temporary: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        self._get(f"{source}/{MANIFEST}", temporary / MANIFEST)
        if _is_same(target, temporary):
            return
        for name in _safe_names(temporary):
            self._get(f"{source}/{name}", temporary / name)
        verify_folder(temporary)
        if target.exists():
            set_aside(target, "replaced")
        try:
            temporary.rename(target)
        except OSError:  # another process of the trial on this machine was first
            if not _is_same(target, temporary):
                raise

    def _get(self, source: str, target: Path) -> None:
        def get() -> None:
            try:
                self._files.get_file(source, str(target))
            except FileNotFoundError as error:
                raise DamagedFolderError(f"{target.name} is missing") from error

        self._tried("be read", get)

    def _probe(self, path: str) -> None:
        self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(path, b"spvit-search")
        try:
            self._files.cat_file(path)
        finally:
            self._files.rm_file(path)

    def _tried(self, verb: str, action: Callable[[], Answer]) -> Answer:
        waits_s = iter(WAITS_S)
        while True:
            try:
                return action()
            except DamagedFolderError:
                raise
            except Exception as error:  # every file system of fsspec has errors of its own
                if (wait_s := next(waits_s, None)) is None:
                    raise self._refusal(verb, error) from error
                time.sleep(wait_s)

    def _refusal(self, verb: str, error: Exception) -> StorageError:
        return StorageError(
            f"study.checkpoints = {redacted(self._url)} could not {verb}: {type(error).__name__}: "
            f"{redacted(first_line(error))}. Check that every machine may read and write there, then resume"
        )


def _is_same(folder: Path, other: Path) -> bool:
    """Whether a folder of this machine is whole and has the manifest of another."""
    try:
        verify_folder(folder)
        return (folder / MANIFEST).read_bytes() == (other / MANIFEST).read_bytes()
    except (OSError, DamagedFolderError):
        return False


def _safe_names(folder: Path) -> list[str]:
    """The files of a manifest that came from elsewhere: plain names, so that nothing is written outside the folder."""
    names = list(manifest_files(folder))
    for name in names:
        if not FILE_NAME.fullmatch(name):
            raise DamagedFolderError(f"its manifest names {name!r}, which is no file of a checkpoint")
    return names


def _opened(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"study.checkpoints: a folder or a URL that fsspec can open was required, but got {redacted(url)!r}: "
            f"{first_line(error)}"
        ) from None
    return files, str(root).rstrip("/")
