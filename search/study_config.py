"""`[study]` of an experiment file: where a study is kept and what makes it repeatable. No torch, no Ray."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator

from search.secrets import has_user_info
from search.storage_url import check_storage_url
from trainers.frozen_config import FrozenConfig

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class StudyConfig(FrozenConfig):
    """Where a study is kept and what makes it repeatable."""

    name: str
    directory: Path = Field(default=Path("runs"), description="Studies, checkpoints, tracking and exports go here.")
    storage: str | None = Field(
        default=None,
        description="Where the study is kept: `postgresql://USER@HOST/DATABASE`, with its password in PGPASSWORD or "
        "~/.pgpass; SQLite in the study's folder if absent.",
    )
    checkpoints: str | None = Field(
        default=None,
        description="Folder or URL (`s3://bucket/folder`, ...) that every machine of a cluster can reach: trials "
        "publish their checkpoints there (docs/cluster.md). In the study's folder if absent.",
    )
    scratch: Path = Field(
        default=Path("~/.cache/spvit-search"),
        description="Where a machine trains whose checkpoints are published; `~` is the home there.",
    )
    seed: int = Field(default=0, ge=0)

    @field_validator("checkpoints")
    @classmethod
    def _reached_from_everywhere(cls, checkpoints: str | None) -> str | None:
        if checkpoints is not None and has_user_info(checkpoints):
            raise ValueError(
                "a URL without user and password was required, since trials are told it: give each machine its own "
                "access (environment, instance role)"
            )
        is_url = checkpoints is not None and "://" in checkpoints
        if checkpoints is not None and (
            checkpoints.startswith("memory:") or not (is_url or checkpoints.startswith("/"))
        ):
            raise ValueError(
                f"an absolute path or a URL that means the same on every machine was required, but got {checkpoints!r}"
            )
        return checkpoints

    @field_validator("storage")
    @classmethod
    def _storage_without_password(cls, storage: str | None) -> str | None:
        if storage is not None:
            check_storage_url(storage)
        return storage

    @field_validator("name")
    @classmethod
    def _safe_name(cls, name: str) -> str:
        if not STUDY_NAME.fullmatch(name):
            raise ValueError(
                f"a study's name is a folder's name: letters, digits, `.`, `_`, `-`, "
                f"at most 100, the first a letter or digit, but got {name!r}"
            )
        return name
