"""The weights that a trial goes on from, as another trial left them; a file and what it is known by. No torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

from pydantic import Field

from spvit.errors import CheckpointError
from trainers.frozen_config import FrozenConfig, Share

_CHUNK_BYTES = 1 << 20


class StartWeights(FrozenConfig):
    """Backbone and selectors in a file. Where it lies may change, what it holds may not."""

    path: Path = Field(description="`weights.safetensors` of another trial's checkpoint.")
    sha256: str = Field(description="Of the file.", pattern=r"^[0-9a-f]{64}$")
    backbone_share: Share = Field(
        default=1.0, description="Of the file's backbone in a weighted mean with the one that `model` names."
    )

    @classmethod
    def of(cls, path: Path) -> Self:
        """What a file holds now.

        Raises:
            CheckpointError: there is no such file.
        """
        return cls(path=path, sha256=digest_of(path))

    def check(self) -> None:
        """Refuse a file that was changed.

        Raises:
            CheckpointError: it cannot be read, or holds something else.
        """
        found = digest_of(self.path)
        if found != self.sha256:
            raise CheckpointError(
                f"A trial was to go on from the weights in {self.path} with the SHA-256 {self.sha256}, but its SHA-256 "
                f"is {found}. Put the file back, or begin a new trial from what it holds now."
            )


def digest_of(path: Path) -> str:
    """The file's SHA-256.

    Raises:
        CheckpointError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(
            f"A trial was to go on from the weights in {path}, which cannot be read: {error.strerror}. Name the "
            "weights.safetensors of a finished trial's checkpoint."
        ) from error
    return digest.hexdigest()
