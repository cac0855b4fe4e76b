"""What `submit` brings to a cluster: this product's code, an experiment with the files it names, the user's own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from search.code_identity import PACKAGES, package_folders
from search.experiment import FILE_RELATIVE_PATHS, parse_toml, read_text
from search.overrides import apply_overrides
from spvit.errors import StorageError, UsageError

INPUTS, ORDER = "inputs", "submission.json"
MAX_BYTES = 500 * 1024**2
"""What Ray takes in one package."""
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".venv")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOrder:
    """What the job does on the cluster: launch `inputs/experiment` with these changes, its study in `runs_dir`.

    The inputs are kept by `inputs_hash` beside the studies: the folder that Ray unpacks a package into goes away.
    """

    experiment: str
    overrides: tuple[str, ...]
    runs_dir: str
    inputs_hash: str
    accept_change: bool = False
    takeover: bool = False

    def __post_init__(self) -> None:
        if not Path(self.runs_dir).is_absolute():
            raise UsageError(
                f"a job's studies are kept where every machine of the cluster finds them and where they stay: an "
                f"absolute --runs-dir (or study.directory) was required, but got {self.runs_dir!r}"
            )

    def write(self, folder: Path) -> None:
        """Keeps it in a package."""
        (folder / ORDER).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` kept."""
        values = json.loads((folder / ORDER).read_text(encoding="utf-8"))
        return cls(**(values | {"overrides": tuple(values["overrides"])}))


def pack(
    experiment: Path,
    overrides: Sequence[str],
    runs_dir: Path,
    *,
    includes: Sequence[Path] = (),
    into: Path,
    accept_change: bool = False,
    takeover: bool = False,
) -> JobOrder:
    """Puts a job's package together.

    Args:
        experiment: the TOML file.
        overrides: `key=value` each.
        runs_dir: where the cluster keeps studies, absolute.
        includes: files and folders of the user's own, importable and readable in the job's folder.
        into: an empty folder.
        accept_change: go on with a study that was made from something else.
        takeover: go on with a study that another driver holds.

    Raises:
        UsageError: something named is missing, outside the experiment's folder, in the way, or all is too large.
        ConfigError: the experiment cannot be read.
    """
    values = apply_overrides(parse_toml(read_text(experiment), experiment), overrides)
    try:
        for folder in package_folders():
            shutil.copytree(folder, into / folder.name, ignore=LEFT_OUT)
        (into / INPUTS).mkdir()
        shutil.copyfile(experiment, into / INPUTS / experiment.name)
        for key, path in _relative_inputs(values):
            _copy(_contained(experiment.parent, path, key), into / INPUTS / path)
        for path in includes:
            _copy(path, into / _free_name(path, into))
    except OSError as error:
        raise StorageError(f"the job's package could not be made: {error}. Free space in {into.parent}") from error
    order = JobOrder(
        experiment=experiment.name,
        overrides=tuple(overrides),
        runs_dir=str(runs_dir),
        inputs_hash=folder_hash(into / INPUTS),
        accept_change=accept_change,
        takeover=takeover,
    )
    order.write(into)
    _check_size(into)
    return order


def folder_hash(folder: Path) -> str:
    """SHA-256 of a folder's files and their names, in hexadecimal."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + digest)
    return total.hexdigest()


def _relative_inputs(values: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """Keys and paths of the files beside the experiment. What is named absolutely every machine has to have."""
    found = []
    for table, key in FILE_RELATIVE_PATHS:
        section = values.get(table)
        path = section.get(key) if isinstance(section, dict) else None
        if isinstance(path, str) and path and not Path(path).is_absolute():
            found.append((f"{table}.{key}", Path(path)))
    return found


def _contained(folder: Path, path: Path, key: str) -> Path:
    root, full = folder.resolve(), (folder / path).resolve()
    if ".." in path.parts or not full.is_relative_to(root):
        raise UsageError(
            f"{key} = {str(path)!r} lies outside the experiment's folder, so it cannot be brought along: move it "
            f"there, or name it by a path that every machine of the cluster has (--set {key}=/...)"
        )
    if not full.exists():
        raise UsageError(f"{key} = {str(path)!r} was required, but {full} does not exist")
    return full


def _free_name(path: Path, into: Path) -> str:
    name = path.resolve().name
    if not path.exists():
        raise UsageError(f"--include {path}: no such file or folder")
    if name in {*PACKAGES, INPUTS, ORDER} or (into / name).exists():
        raise UsageError(f"--include {path}: the job's folder already has {name!r}; give it another name")
    return name


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=LEFT_OUT, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _check_size(folder: Path) -> None:
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    if (total := sum(sizes.values())) <= MAX_BYTES:
        return
    largest = max(sizes, key=lambda path: sizes[path])
    raise UsageError(
        f"a job's package may have {MAX_BYTES >> 20} MiB, but this one has {total >> 20} MiB, most of it in "
        f"{largest.relative_to(folder)}: put large data where every machine has it, and name it by its absolute path"
    )
