"""This process's connection to Ray: made silently, with a token, and ended whatever happens."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from search.ray_token import is_insecure, use_cluster_token
from search.secrets import is_driver_only
from spvit.errors import ClusterError

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table of errors even at verbosity 0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see search/signals.py
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's snapshots are never read: the study is what is resumed
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

NUM_STARTS = 3
LISTENING_WITHIN_S = 20.0
FROM_SERVER = "Initialization failure from server"
"""Begins what a `ray://` address sends: a whole traceback, whose last line says what was wrong."""
MAY_SUCCEED = ("timed out during startup", "Starting Ray client server failed", "Proxy failed to Connect to backend")
"""What Ray says where a busy machine was too slow: of a local start, and of the server that it starts for a client."""


@contextmanager
def connected(address: str | None, arguments: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Connects to Ray while the block runs.

    Args:
        address: of a cluster that is there: `auto`, `host:port` or `ray://host:port`; a local Ray is started if None,
            with the token that the environment names.
        arguments: further ones of `ray.init`.

    Raises:
        ClusterError: Ray cannot be started or reached, or a token is missing.
    """
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    if address is not None:
        use_cluster_token(address, is_insecure=is_insecure())
    import ray

    silence()
    if address is not None:
        _check_listening(address)
    _start(address, {"logging_level": logging.CRITICAL, "log_to_driver": False} | dict(arguments or {}))
    try:
        yield
    finally:
        ray.shutdown()


def _start(address: str | None, arguments: Mapping[str, Any]) -> None:
    """What Ray starts has 30 s to come up, which no setting extends and a busy machine exceeds: it is tried again."""
    import ray

    for num_left in reversed(range(NUM_STARTS)):
        try:
            with _own_signals(), nullcontext() if address else _bare():
                ray.init(address=address or "local", **arguments)
            return
        except Exception as error:
            ray.shutdown()  # what was started of it would live as long as we do
            if not num_left or not any(sentence in str(error) for sentence in MAY_SUCCEED):
                raise ClusterError(_refusal(address, error)) from error


def _check_listening(address: str) -> None:
    """Ray itself looks for a cluster for minutes, and writes its own log lines meanwhile.

    Raises:
        ClusterError: nobody listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # `auto`, or what Ray knows to find
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=LISTENING_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"the Ray cluster at {address} cannot be reached: {getattr(error, 'strerror', None) or error}. Check "
            f"--address, and that the cluster runs"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray's own handler of SIGTERM drains the node first, which takes longer than whoever sends the signal may wait."""
    from ray._private import utils

    theirs = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs


@contextmanager
def _bare() -> Iterator[None]:
    """A local Ray is started with neither secrets nor a dashboard."""
    with _without_secrets(), _without_dashboard():
        yield


@contextmanager
def _without_dashboard() -> Iterator[None]:
    """Where `ray[default]` is installed each node's agent loads all of it, dashboard or not, and the node dies waiting.

    Started as without these packages, the agent is there at once. No setting of Ray's does this.
    """
    from ray._private import utils

    found = utils.get_dashboard_dependency_error
    utils.get_dashboard_dependency_error = lambda: ImportError("a local Ray needs no dashboard")
    try:
        yield
    finally:
        utils.get_dashboard_dependency_error = found


@contextmanager
def _without_secrets() -> Iterator[None]:
    """A local Ray and all its workers inherit the environment as it is while Ray starts."""
    hidden = {name: os.environ.pop(name) for name in filter(is_driver_only, list(os.environ))}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _refusal(address: str | None, error: Exception) -> str:
    lines = [line.strip() for line in (str(error) or type(error).__name__).splitlines() if line.strip()]
    if address is None:
        return f"a local Ray cannot be started: {lines[0]}. Check memory and /tmp"
    if any("version mismatch" in line.lower() for line in lines):
        return f"the Ray cluster at {address} has another version: {' '.join(lines)}. Install the same one here"
    said = (lines[-1] if lines[0].startswith(FROM_SERVER) else lines[0]).removesuffix(".")
    return (
        f"the Ray cluster at {address} cannot be reached: {said}. Check --address, the token and that its version "
        f"of Ray is the same"
    )


def silence() -> None:
    """What a user should know the study tells. That a worker died Ray prints on stdout, and no setting changes that."""
    import ray._private.worker

    for name in ("ray", "ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
