"""A real Ray cluster on one machine: a head and workers, each a node of processes of its own, with token auth."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
STORE_BYTES = 80 * 1024**2
STARTED = "Ray runtime started."
WITHOUT_DASHBOARD = "without-dashboard"
"""On the path of workers: they have `ray[tune]` alone, whose agents start in a third of the time."""
NOT_INSTALLED = "raise ModuleNotFoundError('ray[default] is not installed', name='aiohttp_cors')\n"
JOBS_SERVER = """
import runpy, sys
from ray._raylet import GcsClient
from ray.dashboard import dashboard
address = sys.argv.pop(1)
sys.argv.append("--cluster-id-hex=" + GcsClient(address=address).cluster_id.hex())
runpy.run_path(dashboard.__file__, run_name="__main__")
"""
NODE_S = 120.0
"""Seconds in which a node must have joined. One takes 5 to 15 on two busy cores."""


@dataclass(kw_only=True)
class RayCluster:
    """`address` is for `--address`, `jobs` for `submit`; `environment` makes a process a client that has the token.

    `homes` are the machines by their home folders: files that each machine keeps for itself.
    """

    folder: Path
    environment: dict[str, str]
    port: int
    jobs_port: int
    client_port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    logs: dict[int, Path] = field(default_factory=dict)
    homes: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def client(self) -> str:
        return f"ray://{HOST}:{self.client_port}"

    @property
    def jobs(self) -> str:
        return f"http://{HOST}:{self.jobs_port}"

    def start_head(self) -> None:
        """Runs what the whole cluster needs, and no trials."""
        ports = ("--port", self.port, "--ray-client-server-port", self.client_port, "--dashboard-port", free_port())
        self._start("--head", *ports, "--num-cpus", 0, "--include-dashboard", False)

    def start_jobs(self) -> None:
        """Runs the part of Ray's dashboard that takes jobs: the whole has ten processes that nothing here asks."""
        session = (self.folder / "0" / "session_latest").resolve()
        arguments = {
            "host": HOST,
            "port": self.jobs_port,
            "port-retries": 0,
            "node-ip-address": HOST,
            "gcs-address": self.address,
            "session-dir": session,
            "log-dir": session / "logs",
            "temp-dir": session.parent,
            "modules-to-load": "JobHead,NodeHead",
        }
        given = [f"--{name}={value}" for name, value in arguments.items()]
        self._run("jobs", [sys.executable, "-c", JOBS_SERVER, self.address, *given])

    def add_worker(self, *, num_cpus: int = 1) -> subprocess.Popen[bytes]:
        """Adds a machine; returns its process, with which everything on it ends."""
        paths = os.pathsep.join([str(self.folder / WITHOUT_DASHBOARD), self.environment["PYTHONPATH"]])
        return self._start("--address", self.address, "--num-cpus", num_cpus, environment={"PYTHONPATH": paths})

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """The machine is gone at once, with all that ran on it."""
        self.processes.remove(node)
        _kill_group(node)

    def wait(self) -> None:
        """Returns when every machine is in the cluster."""
        deadline = time.monotonic() + NODE_S
        for node in self.processes:
            if (log := self.logs.get(node.pid)) is None:
                continue
            while STARTED not in log.read_text(errors="replace"):
                assert node.poll() is None, f"the node ended: {log.read_text(errors='replace')[-2000:]}"
                assert time.monotonic() < deadline, f"no node after {NODE_S:g} s: {log.read_text(errors='replace')}"
                time.sleep(0.1)

    def stop(self) -> None:
        for node in reversed(self.processes):
            _kill_group(node)
        self.processes.clear()

    def _start(self, *arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        folder = self.folder / str(len(self.logs))
        folder.mkdir(mode=0o700)
        own_ports = ("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--runtime-env-agent-port")
        command = [
            *(Path(sys.executable).with_name("ray"), "start", "--block", "--disable-usage-stats"),
            *("--node-ip-address", HOST, "--temp-dir", folder, "--object-store-memory", STORE_BYTES),
            *("--min-worker-port", 0, "--max-worker-port", 0, "--metrics-export-port", free_port()),
            *(part for name in own_ports for part in (name, free_port())),
            *arguments,
        ]
        node = self._run(folder.name, command, {"HOME": str(folder), **(environment or {})})
        self.logs[node.pid] = self.folder / f"{folder.name}.log"
        self.homes[folder] = node
        return node

    def _run(
        self, name: str, command: Sequence[object], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as stream:
            process = subprocess.Popen(
                list(map(str, command)),
                env={**self.environment, **(environment or {})},
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self.processes.append(process)
        return process


@contextmanager
def ray_cluster(*, num_workers: int, environment: Mapping[str, str] | None = None) -> Iterator[RayCluster]:
    """A head without CPUs and workers of one CPU each. Nothing of it is left at the end.

    Args:
        num_workers: machines for trials.
        environment: of every machine, beside this process's own.
    """
    folder = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))  # a socket's path has at most 107 characters
    client = _client_environment(folder, environment or {})
    cluster = RayCluster(folder=folder, environment=client, **_ports())
    (folder / WITHOUT_DASHBOARD).mkdir()
    (folder / WITHOUT_DASHBOARD / "aiohttp_cors.py").write_text(NOT_INSTALLED)
    try:
        cluster.start_head()
        cluster.wait()
        cluster.start_jobs()
        for _ in range(num_workers):
            cluster.add_worker()
            cluster.wait()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _client_environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    tests = (ROOT / "tests" / "integration", ROOT / "tests" / "search", ROOT)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": str(int(NODE_S)),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, tests)),
        **more,
    }


def _ports() -> dict[str, int]:
    return {name: free_port() for name in ("port", "jobs_port", "client_port")}


def _kill_group(node: subprocess.Popen[bytes]) -> None:
    """Ends a process and all below it: Ray's own end with it too, but some of them only after a while."""
    for process in descendants(node.pid):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    node.kill()
    node.wait(10)


def descendants(pid: int) -> list[int]:
    """Every process below one, the nearest first. Ray puts its own into groups of their own."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
