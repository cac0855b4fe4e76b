"""F34: what listens where while a real search runs, and while its dashboard is open.

In a network with a further address: without one, a program that listens at "this machine's own" would seem to keep to
the loopback.
"""

import os
import signal
import subprocess
import sys
import time

import networks
import pytest
from command_line import ROOT, write_experiment

pytestmark = [pytest.mark.large, pytest.mark.integration]
CHANGES = (
    ("num_trials = 8", "num_trials = 1"),
    ("num_concurrent = 2", "num_concurrent = 1"),
    ("num_startup_trials = 4", "num_startup_trials = 1"),
    ("epochs = 3", "epochs = 1"),
    ("time_limit_s = 8", "time_limit_s = 2"),
)
LISTENER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 0), family=family)
print(listener.getsockname()[1], flush=True)
input()
"""
EVERYWHERE = ("0.0.0.0", "::", networks.LAN)  # noqa: S104 - asked about, not listened on


@pytest.fixture(scope="module", autouse=True)
def network():
    reason = networks.why_not()
    assert not (reason and os.environ.get("REQUIRE_SERVICES")), reason
    if reason:
        pytest.skip(reason)


def _start(*arguments, **streams):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(networks.command(sys.executable, *arguments), env=environment, text=True, **streams)


@pytest.mark.parametrize("address", ["127.0.0.1", *EVERYWHERE])
def test_a_listener_is_found_and_told_from_one_of_the_loopback(address):
    with _start("-c", LISTENER, address, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        port = int(process.stdout.readline())
        (found,) = networks.listeners(process.pid)
        process.communicate("\n")
    assert (found.address, found.port, found.is_loopback) == (address, port, address == "127.0.0.1")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """All that listened while a search ran from its first moment to its end, and its folder of studies."""
    folder = tmp_path_factory.mktemp("sockets")
    experiment = write_experiment(folder, "small", *CHANGES)
    log, seen = folder / "output.log", set()
    with log.open("w") as output:
        process = _start("-m", "search.cli", "launch", experiment, stdout=output, stderr=output)
        while process.poll() is None:
            seen |= networks.listeners(process.pid)
            time.sleep(0.1)
    assert process.returncode == 0, log.read_text()
    return seen, folder / "runs"


def test_a_search_listens_on_the_loopback_only(searched):
    seen, _ = searched
    assert any("gcs_server" in listener.program for listener in seen)  # they were looked at
    assert {listener for listener in seen if not listener.is_loopback} == set()


def test_the_dashboard_listens_on_the_loopback_only(searched):
    arguments = ("dashboard", "small", "--no-browser", "--runs-dir", searched[1])
    with _start("-m", "search.cli", *arguments, stdout=subprocess.PIPE) as process:
        address = process.stdout.readline().strip()
        seen = networks.listeners(process.pid)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert address.startswith("http://127.0.0.1:")
    assert str(next(iter(seen)).port) in address
    assert {listener for listener in seen if not listener.is_loopback} == set()
