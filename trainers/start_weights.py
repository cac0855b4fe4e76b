"""The weights that a trial goes on from, as another trial left them; a file and what it is known by. No torch."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field

from spvit.errors import CheckpointError
from spvit.schedule import TokenPlan
from trainers.frozen_config import FrozenConfig, Share

_CHUNK_BYTES = 1 << 20


class ShareRule(StrEnum):
    """What decides how much of a file's backbone a trial starts with."""

    BY_DROPPED = "by_dropped"


BackboneShare = Share | ShareRule


class StartWeights(FrozenConfig):
    """Backbone and selectors in a file. Where it lies may change, what it holds may not."""

    path: Path = Field(description="`weights.safetensors` of another trial's checkpoint.")
    sha256: str = Field(description="Of the file.", pattern=r"^[0-9a-f]{64}$")
    backbone_share: BackboneShare = Field(
        default=1.0,
        description="Of the file's backbone in a weighted mean with the one that `model` names; `by_dropped` has the "
        "schedule decide.",
    )

    @classmethod
    def of(cls, path: Path, *, backbone_share: BackboneShare = 1.0) -> Self:
        """What a file holds now.

        Raises:
            CheckpointError: there is no such file.
        """
        return cls(path=path, sha256=digest_of(path), backbone_share=backbone_share)

    def share_for(self, plan: TokenPlan, dense: TokenPlan) -> float:
        """The share of the file's backbone for a schedule whose plan is given, on a model with that dense plan.

        Twice the share of the tokens times blocks that the schedule drops, and never more than all: weights that serve
        many schedules are better than the original ones where much is dropped, and worse near the dense model, where
        short trainings do not bring back what they have lost (measured in decision 42).
        """
        if not isinstance(self.backbone_share, ShareRule):
            return self.backbone_share
        return min(1.0, 2.0 * (1.0 - sum(plan.block_tokens) / sum(dense.block_tokens)))

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
