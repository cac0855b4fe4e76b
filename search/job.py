"""A search as a job of a Ray cluster: handed in, followed and ended over HTTP. Nothing of it runs here."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.ray_session import SETTINGS, silence
from search.ray_token import INSECURE, is_insecure, use_cluster_token
from search.secrets import redacted
from search.submitted import ENTRYPOINT
from spvit.errors import ClusterError, ExitCode, UsageError
from spvit.wording import install_hint

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers of Ray's client that have levels of their own."""
POLL_S = 1.0
OK, STOPPED = "SUCCEEDED", "STOPPED"
ENDED = frozenset({OK, STOPPED, "FAILED"})


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEnd:
    """How a job ended; `exit_code` is what `spvit-search` would have ended with here."""

    job: str
    status: str
    exit_code: int
    message: str


class ClusterJobs:
    """The jobs of one cluster.

    Args:
        address: `http://host:8265`, the cluster's dashboard.

    Raises:
        ClusterError: it cannot be reached or refuses us.
        UsageError: Ray's job client is not installed.
    """

    def __init__(self, address: str) -> None:
        os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
        use_cluster_token(address, is_insecure=is_insecure())
        self._address = address
        self._client = self._connected()

    def submit(self, study: str, package: Path) -> str:
        """Hands a package in; returns the job's name.

        Raises:
            ClusterError: the cluster refuses it.
        """
        environment = {INSECURE: "1"} if is_insecure() else {}
        job = f"spvit-{study}-{secrets.token_hex(4)}"
        try:
            return str(
                self._client.submit_job(
                    entrypoint=ENTRYPOINT,
                    submission_id=job,
                    runtime_env={"working_dir": str(package), "env_vars": environment},
                    metadata={"study": study},
                )
            )
        except Exception as error:
            raise self._refusal(error) from error

    def follow(self, job: str, write: Callable[[str], None]) -> JobEnd:
        """Passes on what the job writes until it has ended.

        Raises:
            ClusterError: the cluster cannot be reached any more.
        """
        try:
            asyncio.run(self._tail(job, write))
            while str(self._client.get_job_status(job).value) not in ENDED:
                time.sleep(POLL_S)
            details = self._client.get_job_info(job)
        except Exception as error:
            raise self._refusal(error) from error
        status = str(details.status.value)
        code = exit_code_of(status, details.driver_exit_code)
        return JobEnd(job=job, status=status, exit_code=code, message=str(details.message or ""))

    async def _tail(self, job: str, write: Callable[[str], None]) -> None:
        async for text in self._client.tail_job_logs(job):
            write(text)

    def _connected(self) -> JobSubmissionClient:
        try:
            import aiohttp_cors  # noqa: F401 - of what `ray[default]` adds, the one that nothing else brings
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise UsageError(
                f"`submit` needs Ray's job client: {install_hint('cluster')} (missing: {error.name})"
            ) from None
        silence()
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            return JobSubmissionClient(self._address)
        except Exception as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> ClusterError:
        lines = [line for line in str(error).splitlines() if line.strip()]
        first = redacted(lines[0]) if lines else type(error).__name__
        return ClusterError(
            f"the jobs of the Ray cluster at {self._address} cannot be used: {first}. Check --address (its dashboard, "
            f"usually port 8265), the token, and that the head has ray[default]"
        )


def exit_code_of(status: str, driver_exit_code: int | None) -> int:
    """The exit code of a job: its driver's own; if it was stopped or killed, that of a search that can be resumed."""
    if status == OK:
        return int(ExitCode.OK)
    if driver_exit_code is not None and driver_exit_code > 0 and driver_exit_code in set(ExitCode):
        return driver_exit_code
    return int(ExitCode.STOPPED if status == STOPPED else ExitCode.CLUSTER)
