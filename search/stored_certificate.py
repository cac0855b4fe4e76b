"""The certificate that lies in an exported folder, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.certificate import Verdict
from search.export_report import CERTIFICATE, FORMAT
from search.format_certificate import FormatCertificate
from spvit.errors import CheckpointError
from spvit.export_json import read_export_json


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCertificate:
    """What an export promises: see `ExportReport`. `device` and `runtime` are those that it was measured with."""

    formats: tuple[FormatCertificate, ...]
    file_sha256: Mapping[str, str]
    data_sha256: str
    code_sha256: str
    environment: Mapping[str, str]
    device: str
    table_device: str
    max_latency_ms: float
    dense_ms: float
    verdict: Verdict

    @property
    def ran_on(self) -> str:
        """The torch device that the weights, the first format, ran on."""
        return self.formats[0].ran_on

    @classmethod
    def read(cls, folder: Path) -> StoredCertificate:
        """The certificate of a folder.

        Raises:
            CheckpointError: it is missing, damaged, or of another version.
        """
        values = read_export_json(folder, CERTIFICATE, version=FORMAT, remedy="export the model again")
        try:
            return cls(**_fields(values))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / CERTIFICATE}: damaged ({type(error).__name__}: {error}); export the model again"
            ) from None


OWN_KEYS = ("file", "verdict", "prediction_error_percent")
"""Of a format in the file, beside the certificate itself."""


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    same = (
        *("data_sha256", "code_sha256", "device", "table_device", "max_latency_ms", "dense_ms"),
        *("file_sha256", "environment"),
    )
    formats = ({key: item for key, item in entry.items() if key not in OWN_KEYS} for entry in values["formats"])
    certificates = tuple(FormatCertificate.from_dict(entry) for entry in formats)
    if not certificates:
        raise ValueError("it certifies no file")
    return {key: values[key] for key in same} | {
        "formats": certificates,
        "verdict": Verdict(values["verdict"]),
    }
