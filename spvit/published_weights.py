"""Weights that timm publishes under a model's name: downloaded, or taken from the cache where there is no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from huggingface_hub import constants, get_session, try_to_load_from_cache
from timm.models.vision_transformer import VisionTransformer

from spvit.errors import CheckpointError

FILE = "model.safetensors"
PATIENCE_S = 10.0
"""For the first answer of the server. Without asking first, the client's retries took 49 s to say there is none."""


def create_published(name: str, args: Mapping[str, Any], cfg: Mapping[str, Any]) -> VisionTransformer:
    """A timm model with its published weights.

    Args:
        name: of the model in timm.
        args: further arguments of `timm.create_model`.
        cfg: timm's description of the weights.

    Raises:
        CheckpointError: there are none, or they can neither be downloaded nor found in the cache.
    """
    repository, url = cfg.get("hf_hub_id"), cfg.get("url")
    if not repository and not url and not cfg.get("file"):
        raise CheckpointError(
            f"model.pretrained = true asks for published weights, but timm publishes none for {name}. Give the file "
            "of its authors as model.checkpoint."
        )
    overlay = {} if not repository or _hub_answers() else {"file": _cached(name, str(repository))}
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **args)
    except Exception as error:  # what a network does wrong is raised differently by every client library
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        source = _page(str(repository)) if repository else url
        raise CheckpointError(
            f"The published weights of {name} could not be loaded ({reason}). {_by_hand(source)}"
        ) from error


def _hub_answers() -> bool:
    """Whether there is a way to the server, through whatever proxy the client was told to use."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE_S)
    except Exception:  # as above
        return False
    return True


def _cached(name: str, repository: str) -> str:
    path = try_to_load_from_cache(repository, FILE)
    if isinstance(path, str):
        return path
    raise CheckpointError(
        f"The published weights of {name} could not be downloaded: {constants.ENDPOINT} does not answer, and they are "
        f"not in {constants.HF_HUB_CACHE}. {_by_hand(_page(repository))}"
    )


def _page(repository: str) -> str:
    return f"{constants.ENDPOINT}/{repository}"


def _by_hand(source: object) -> str:
    return (
        f"Download {FILE} from {source} where there is a network, give its path as model.checkpoint, and set "
        "model.pretrained = false."
    )
