"""`[start]` of an experiment file: weights of another trial that every trial goes on from. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from spvit.errors import CheckpointError
from trainers.frozen_config import FrozenConfig
from trainers.start_weights import BackboneShare, ShareRule, StartWeights, digest_of


class GivenStart(FrozenConfig):
    """Weights that every trial goes on from, such as those of another study's elastic trial.

    Without a path trials begin with the backbone.
    """

    path: Path | None = Field(default=None, description="`weights.safetensors` of a trial's checkpoint.")
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="Of the file, which is refused if it differs; that of the file as it is now if absent.",
    )
    backbone_share: BackboneShare = Field(
        default=ShareRule.BY_DROPPED,
        description="Of the file's backbone in a weighted mean with that of `[model]`; `by_dropped` goes by how much a "
        "schedule drops (docs/elastic.md).",
    )

    @model_validator(mode="after")
    def _hash_is_of_a_file(self) -> Self:
        if self.sha256 is not None and self.path is None:
            raise ValueError("sha256 is given, but no path: name the file that it belongs to")
        return self

    @classmethod
    def of(cls, weights: StartWeights) -> Self:
        """As a trial names it."""
        return cls(path=weights.path, sha256=weights.sha256, backbone_share=weights.backbone_share)

    def weights(self) -> StartWeights | None:
        """As a trial names it; None without a path. Reads the file where its hash is not noted.

        Raises:
            CheckpointError: it cannot be read.
        """
        known = self.pinned()
        if known.path is None or known.sha256 is None:
            return None
        return StartWeights(path=known.path, sha256=known.sha256, backbone_share=known.backbone_share)

    def pinned(self) -> Self:
        """With the file's hash.

        Raises:
            CheckpointError: it cannot be read.
        """
        if self.path is None or self.sha256 is not None:
            return self
        try:
            return self.model_copy(update={"sha256": digest_of(self.path)})
        except CheckpointError as error:
            raise CheckpointError(f"start.path: {error}") from None


def names_weights(experiment: Mapping[str, Any]) -> bool:
    """Whether an experiment, in plain values, names weights to go on from; older ones have no such table."""
    return bool(experiment.get("start", {}).get("path"))
