"""The certificate of an export of several schedules, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.export_report import CERTIFICATE, FORMAT
from search.schedule_certificate import ScheduleCertificate
from spvit.errors import CheckpointError
from spvit.export_json import read_export_json
from spvit.exported_schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSchedules:
    """What such an export promises: see `ElasticExport`. `device` is the one that it was measured on."""

    schedules: tuple[ScheduleCertificate, ...]
    file_sha256: Mapping[str, str]
    data_sha256: str
    code_sha256: str
    environment: Mapping[str, str]
    device: str
    dense_ms: float

    @classmethod
    def read(cls, folder: Path) -> StoredSchedules:
        """The certificate of a folder.

        Raises:
            CheckpointError: it is missing, damaged, or of another version.
        """
        values = read_export_json(folder, CERTIFICATE, version=FORMAT, remedy="export the schedules again")
        try:
            return cls(**_fields(values))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / CERTIFICATE}: damaged ({type(error).__name__}: {error}); export the schedules again"
            ) from None


def holds_schedules(folder: Path) -> bool:
    """Whether a folder's certificate is that of several schedules; one that cannot be read is not."""
    try:
        values = json.loads((folder / CERTIFICATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and SCHEDULES in values


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    same = ("file_sha256", "data_sha256", "code_sha256", "environment", "device")
    schedules = tuple(map(ScheduleCertificate.from_dict, values[SCHEDULES]))
    if not schedules:
        raise ValueError("it certifies no schedule")
    return {key: values[key] for key in same} | {"schedules": schedules, "dense_ms": float(values["dense_ms"])}
