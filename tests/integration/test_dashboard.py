import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from search.commands.dashboard import mlflow_server
from spvit.errors import UsageError

pytestmark = pytest.mark.integration


def _group_members(group):
    """Processes of a group that are still running."""
    members = []
    for entry in os.scandir("/proc"):
        try:
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                members.append(int(entry.name))
        except ProcessLookupError:
            continue
    return members


def test_the_server_answers_on_loopback_and_leaves_nothing_behind(tmp_path, unused_tcp_port):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with mlflow_server(uri, unused_tcp_port) as (process, base):
        assert base == f"http://127.0.0.1:{unused_tcp_port}"
        with urllib.request.urlopen(f"{base}/health") as answer:  # noqa: S310 - our own server
            assert answer.status == 200
        with (
            pytest.raises(UsageError, match=f"Port {unused_tcp_port} on 127.0.0.1 is taken"),
            mlflow_server(uri, unused_tcp_port),
        ):
            pass
        assert _group_members(process.pid)
    assert _group_members(process.pid) == []


def test_a_dashboard_that_is_terminated_takes_its_server_along(tmp_path):
    (tmp_path / "mlflow.db").touch()
    arguments = ["dashboard", "--no-browser", "--runs-dir", str(tmp_path)]
    dashboard = subprocess.Popen(
        [sys.executable, "-m", "search.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    address = dashboard.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    dashboard.send_signal(signal.SIGTERM)
    dashboard.communicate(timeout=60)
    assert dashboard.returncode == 0
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(address)  # noqa: S310 - our own server


@pytest.fixture
def unused_tcp_port():
    from search.commands.dashboard import free_port

    return free_port()
