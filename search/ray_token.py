"""The token without which a Ray lets nobody in. Ray reads where it is once, when it is imported."""

from __future__ import annotations

import logging
import os
import secrets
import stat
import sys
from pathlib import Path

from spvit.errors import ClusterError

logger = logging.getLogger(__name__)

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
INSECURE = "SPVIT_INSECURE_CLUSTER"
"""Set by `--insecure-cluster`, for whatever in this process connects to a cluster."""
OWN_TOKEN = "ray_token"  # noqa: S105 - a file's name
USUAL_PLACE = Path(".ray") / "auth_token"
OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO


def use_own_token(directory: Path) -> None:
    """For a local Ray: without a token everybody on the machine could run code as us. `~/.ray` is left alone.

    Args:
        directory: the study's folder, in which the token is kept, readable by its owner only.
    """
    if "ray" in sys.modules:
        return
    path = directory / OWN_TOKEN
    if not path.exists():
        write_token(path)
    os.environ.pop(TOKEN, None)
    os.environ[MODE] = "token"
    os.environ[TOKEN_PATH] = str(path)


def write_token(path: Path) -> None:
    """Writes a new token in one step, readable by its owner only."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(32))
    temporary.replace(path)


def use_cluster_token(address: str, *, is_insecure: bool = False) -> None:
    """For a cluster that is there: the token that its nodes were started with.

    Args:
        address: of the cluster, for messages.
        is_insecure: the user says that a cluster without a token is to be joined.

    Raises:
        ClusterError: there is no token, or it was switched off, without the user saying so here.
    """
    source = _token_source()
    if is_insecure:
        if source is None or is_switched_off():
            os.environ.setdefault(MODE, "disabled")
            logger.warning(
                "Ray at %s is used without a token: everybody who reaches its ports can run code there as you do, and "
                "read this study's images, weights and results.",
                address,
            )
        return
    if is_switched_off():
        raise ClusterError(
            f"a token was required for Ray at {address}, but {MODE}=disabled is set: unset it, or say "
            f"--insecure-cluster if every host that reaches that network may run code there"
        )
    if source is None:
        raise ClusterError(
            f"a token was required for Ray at {address}, but there is none in ${TOKEN}, in the file of ${TOKEN_PATH} "
            f"and in ~/{USUAL_PLACE}: copy the one that the nodes were started with (docs/cluster.md), or say "
            f"--insecure-cluster if every host that reaches that network may run code there"
        )
    _warn_if_shared(source)
    os.environ[MODE] = "token"


def is_insecure() -> bool:
    """Whether the user said `--insecure-cluster`."""
    return os.environ.get(INSECURE, "").lower() not in {"", "0", "false", "no"}


def is_switched_off() -> bool:
    """Whether the environment tells Ray to ask for no token."""
    return os.environ.get(MODE, "token").lower() != "token"


def _token_source() -> Path | str | None:
    """The file that holds the token, or the variable's name; None if there is none. In Ray's own order."""
    if os.environ.get(TOKEN):
        return TOKEN
    named = os.environ.get(TOKEN_PATH)
    path = Path(named).expanduser() if named else Path.home() / USUAL_PLACE
    return path if path.is_file() and path.stat().st_size else None


def _warn_if_shared(source: Path | str) -> None:
    if isinstance(source, Path) and source.stat().st_mode & OTHERS_MAY_READ:
        logger.warning("Others on this machine can read Ray's token in %s: chmod 600 %s", source, source)
