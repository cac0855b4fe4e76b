"""Reads an experiment file into an `ExperimentConfig`, and says everything that is wrong with it at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search.config import ExperimentConfig
from search.config_errors import Problem, explain
from search.overrides import apply_overrides
from spvit.errors import ConfigError
from spvit.wording import first_line, first_of

MAX_FILE_BYTES = 1 << 20
MAX_SHOWN_PROBLEMS = 8
FILE_RELATIVE_PATHS = (("model", "checkpoint"), ("data", "path"), ("latency", "table"), ("start", "path"))
ABSENT_IF_EMPTY = (("model", "checkpoint"), ("latency", "table"), ("start", "path"))
"""Paths that a file may name as `""`, which is none."""


def load_experiment(path: Path | str, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Reads and validates an experiment file.

    `model.checkpoint`, `start.path`, `data.path` and `latency.table` are relative to the file's folder;
    `study.directory` is relative to the current one.

    Args:
        path: the TOML file.
        overrides: `key=value` each, the key dotted, the value in TOML's syntax or else taken as text
            (`training.epochs=5`, `study.name=second`); `key=` takes the key away, so that its default holds.

    Raises:
        ConfigError: the file is missing, unreadable, no TOML, or says something that it may not. The text names the
            file and every key that is wrong.
    """
    path = Path(path)
    values = apply_overrides(parse_toml(read_text(path), path), overrides)
    return validate(_with_absolute_paths(values, path.parent), source=str(path))


def read_text(path: Path) -> str:
    """The text of an experiment file.

    Raises:
        ConfigError: it is missing, no file, too large, or not UTF-8.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: an experiment file (TOML) was required, but this is a directory.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such experiment file. Give the path of a .toml file.{_siblings(path)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{str(path)!r}: the experiment file cannot be read: {reason}.") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: an experiment file has at most {MAX_FILE_BYTES} bytes, this one {len(data)}.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}: line {line} is not UTF-8 (byte 0x{data[error.start]:02x}). Save the file as UTF-8."
        ) from None


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ConfigError: it is no TOML; says the line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits; arrays nested thousands deep
        raise ConfigError(f"{path}: not usable TOML: {first_line(error)}.") from None


def validate(values: Mapping[str, Any], source: str) -> ExperimentConfig:
    """An experiment from plain values, such as a study keeps.

    Raises:
        ConfigError: some values are missing, unknown or out of range.
    """
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_report(source, explain(error))) from None
    except (OverflowError, RecursionError) as error:
        raise ConfigError(f"{source}: a number is out of every range: {error}.") from None


def _report(source: str, problems: Sequence[Problem]) -> str:
    shown = [f"  {line}" for line in first_of(problems, MAX_SHOWN_PROBLEMS)]
    noun = "problem" if len(problems) == 1 else "problems"
    return "\n".join([f"{source}: {len(problems)} {noun}:", *shown])


def _with_absolute_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    base = Path.cwd() / folder
    for table, key in FILE_RELATIVE_PATHS:
        section = values.get(table)
        if not isinstance(section, dict) or not isinstance(section.get(key), str):
            continue
        if not section[key] and (table, key) in ABSENT_IF_EMPTY:
            del section[key]
        else:
            section[key] = str(base / section[key])
    return values


def _siblings(path: Path) -> str:
    try:
        names = sorted(entry.name for entry in path.parent.glob("*.toml"))
    except (OSError, ValueError):
        return ""
    return f" In {path.parent}: {', '.join(names[:5])}." if names else ""
