"""Whether the files of an export are those that were certified."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from search.check_report import CheckLine, CheckState, passed_if
from search.export_files import EXPERIMENT, LABELS
from search.formats import ExportFormat
from trainers.safe_folder import DamagedFolderError, file_hash, verify_folder

DESCRIPTION = "config.json"
NEEDED = (ExportFormat.SAFETENSORS.file, DESCRIPTION, EXPERIMENT)
"""Without these nothing can be run: they say what the model is, and with which data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedFiles:
    """What was found, and which formats are what they were."""

    lines: tuple[CheckLine, ...]
    formats: tuple[ExportFormat, ...]
    may_be_run: bool


def check_files(folder: Path, file_sha256: Mapping[str, str], certified: Collection[ExportFormat] = ()) -> CheckedFiles:
    """Compare every file with its hash, and the labels with the description.

    Args:
        folder: the export.
        file_sha256: what its certificate says of each file.
        certified: formats that it says something of.
    """
    whole = {name: _is_whole(folder / name, expected) for name, expected in file_sha256.items()}
    lines = [_manifest_line(folder), *_hash_lines(whole), _labels_line(folder)]
    return CheckedFiles(
        lines=tuple(lines),
        formats=tuple(f for f in ExportFormat if f in certified and whole.get(f.file, False)),
        may_be_run=all(whole.get(name, False) for name in NEEDED),
    )


def _manifest_line(folder: Path) -> CheckLine:
    try:
        verify_folder(folder)
    except DamagedFolderError as error:
        return CheckLine(what="manifest", state=CheckState.FAIL, text=str(error))
    return CheckLine(what="manifest", state=CheckState.PASS, text="every file is as it was written")


def _hash_lines(whole: dict[str, bool]) -> Iterator[CheckLine]:
    for name, is_whole in whole.items():
        text = "SHA-256 as certified" if is_whole else "changed or missing since it was certified; it is not run"
        yield passed_if(name, holds=is_whole, text=text)


def _labels_line(folder: Path) -> CheckLine:
    try:
        listed = (folder / LABELS).read_text(encoding="utf-8").splitlines()
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["class_names"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return passed_if("labels", holds=False, text=f"cannot be read ({type(error).__name__}: {error})")
    is_same = listed == described
    text = f"{len(listed)} classes" if is_same else f"{LABELS} and {DESCRIPTION} name other classes"
    return passed_if("labels", holds=is_same, text=text)


def _is_whole(path: Path, expected: str) -> bool:
    try:
        return file_hash(path) == expected
    except OSError:
        return False
