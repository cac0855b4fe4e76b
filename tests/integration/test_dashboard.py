import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search.commands.dashboard import mlflow_server, optuna_server
from search.commands.local_server import free_port
from search.study import read_study
from spvit.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import finished_study

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
        client = MlflowClient(base)
        run = client.create_run(client.create_experiment("by hand"))
        client.log_text(run.info.run_id, "hello", "note.txt")
    assert _group_members(process.pid) == []
    assert [path.read_text() for path in (tmp_path / "mlartifacts").rglob("note.txt")] == ["hello"]


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished study."""
    directory = tmp_path_factory.mktemp("runs")
    return finished_study.make_study(finished_study.experiment(directory), finished_study.table(), num_trials=3)


def _answer(address, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(address, method=method)) as answer:  # noqa: S310 - our own server
        return json.loads(answer.read())


def test_optunas_dashboard_shows_the_study_and_cannot_change_it(folder, unused_tcp_port):
    study = read_study(folder)
    with optuna_server(folder, unused_tcp_port) as (process, base):
        (shown,) = _answer(f"{base}/api/studies")["study_summaries"]
        assert (shown["study_name"], shown["directions"]) == ("small", ["maximize", "minimize"])
        trials = _answer(f"{base}/api/studies/{shown['study_id']}")["trials"]
        assert [(t["number"], t["state"]) for t in trials] == [
            (t.number, {"COMPLETE": "Complete", "PRUNED": "Pruned"}[t.state]) for t in study.trials
        ]
        for method, path in (("DELETE", f"/api/studies/{shown['study_id']}"), ("POST", "/api/studies")):
            with pytest.raises(urllib.error.HTTPError, match="405"):
                _answer(f"{base}{path}", method)
    assert _group_members(process.pid) == []
    assert read_study(folder) == study


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_optunas_dashboard_ends_with_its_command_and_leads_to_the_trial(folder, number):
    arguments = ["dashboard", "small", "--optuna", "--trial", "2", "--no-browser", "--runs-dir", str(folder.parent)]
    dashboard = subprocess.Popen(
        [sys.executable, "-m", "search.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    address = dashboard.stdout.readline().strip()
    assert address.endswith("/dashboard/studies/1/trials?numbers=2")
    dashboard.send_signal(number)
    dashboard.communicate(timeout=60)
    assert dashboard.returncode == 0
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(address)  # noqa: S310 - our own server


@pytest.fixture
def unused_tcp_port():
    return free_port()
