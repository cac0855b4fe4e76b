"""The JSON files of an exported folder, each with the version of its format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spvit.errors import CheckpointError


def read_export_json(folder: Path, name: str, *, version: int, remedy: str) -> dict[str, Any]:
    """What a JSON file of an exported folder says.

    Args:
        folder: the exported folder.
        name: of the file in it.
        version: of the format that this program writes; under the key `format` in the file.
        remedy: what to do about another version.

    Raises:
        CheckpointError: it is missing, damaged, or of another version.
    """
    path = folder / name
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: a folder written by `spvit-search export` was required, but {name} is missing or damaged "
            f"({type(error).__name__})"
        ) from error
    if found != version:
        raise CheckpointError(f"{path}: format {version} was required, but got {found!r}; {remedy}")
    return dict(values)
