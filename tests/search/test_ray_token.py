import logging
import stat
import subprocess
import sys

import pytest

from search import ray_token
from search.ray_token import use_cluster_token, write_token
from spvit.errors import ClusterError


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A home without a token, and no word of one in the environment."""
    for name in (ray_token.MODE, ray_token.TOKEN, ray_token.TOKEN_PATH, ray_token.INSECURE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_new_token_is_for_its_owner_only_and_like_no_other(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    write_token(first)
    write_token(second)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert len(first.read_text()) == 64
    assert first.read_text() != second.read_text()


def test_a_cluster_without_a_token_is_refused():
    with pytest.raises(ClusterError, match=r"a token was required for Ray at head:6379.*--insecure-cluster"):
        use_cluster_token("head:6379")


def test_a_token_that_was_switched_off_is_no_silent_consent(monkeypatch):
    monkeypatch.setenv(ray_token.TOKEN, "abc")
    monkeypatch.setenv(ray_token.MODE, "disabled")
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE=disabled is set"):
        use_cluster_token("head:6379")


def test_insecure_is_said_aloud(monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        use_cluster_token("head:6379", is_insecure=True)
    assert "everybody who reaches its ports can run code there" in caplog.text


@pytest.mark.parametrize("where", ["variable", "path", "home"])
def test_a_token_is_found_where_ray_looks(where, nowhere, monkeypatch, caplog):
    home = nowhere / ray_token.USUAL_PLACE
    path = home if where == "home" else nowhere / "elsewhere"
    if where == "variable":
        monkeypatch.setenv(ray_token.TOKEN, "abc")
    else:
        path.parent.mkdir(exist_ok=True)
        write_token(path)
    if where == "path":
        monkeypatch.setenv(ray_token.TOKEN_PATH, str(path))
    use_cluster_token("head:6379")
    assert caplog.text == ""


def test_a_token_that_others_can_read_is_told(nowhere, monkeypatch, caplog):
    path = nowhere / "token"
    write_token(path)
    path.chmod(0o644)
    monkeypatch.setenv(ray_token.TOKEN_PATH, str(path))
    use_cluster_token("head:6379")
    assert f"chmod 600 {path}" in caplog.text


def test_a_local_ray_always_has_a_token(tmp_path):
    """In a process of its own: one that has imported Ray cannot be given another token."""
    script = (
        "import os, pathlib; from search.ray_token import use_own_token;"
        f"use_own_token(pathlib.Path({str(tmp_path)!r})); print(os.environ['RAY_AUTH_MODE'])"
    )
    environment = {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
    assert done.stdout == "token\n"
    assert stat.S_IMODE((tmp_path / ray_token.OWN_TOKEN).stat().st_mode) == 0o600
