"""Nothing of ours listens beyond this machine unless the user says so, and then it is told what is exposed."""

import socket
from pathlib import Path

import click
import pytest

from search.cli import COMMANDS, cli
from search.commands import dashboard, local_server
from spvit.errors import UsageError

EVERYWHERE = "0.0.0.0"  # noqa: S104 - asked about, not listened on


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("localhost", True), ("127.8.8.8", True), (EVERYWHERE, False), ("192.0.2.1", False)],
)
def test_what_only_this_machine_reaches(host, is_own):
    assert dashboard.is_loopback(host) is is_own


def test_loopback_is_the_default_of_every_command_that_listens():
    commands = [cli.get_command(click.Context(cli), name) for name in COMMANDS]
    listen = [p for command in commands for p in command.params if "--listen" in p.opts]
    assert [option.default for option in listen] == ["127.0.0.1"]


def test_an_open_dashboard_says_what_is_exposed_and_what_is_safer(capsys):
    dashboard._warn_if_open(EVERYWHERE, "http://127.0.0.1:5000", Path("runs"))
    told = capsys.readouterr().err
    assert "can read, change and delete every study tracked in runs" in told
    assert "ssh -L 5000:127.0.0.1:5000" in told


def test_a_dashboard_of_this_machine_says_nothing(capsys):
    dashboard._warn_if_open("127.0.0.1", "http://127.0.0.1:5000", Path("runs"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("host", ["203.0.113.9", "nohost.invalid"])
def test_an_interface_that_is_not_there_is_refused(host):
    with pytest.raises(UsageError, match=f"--listen needs an IPv4 address or name of this machine .* got '{host}'"):
        dashboard.free_port(host)


def test_a_taken_port_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} on 127.0.0.1 is taken"):
            local_server._check_free("127.0.0.1", port)
