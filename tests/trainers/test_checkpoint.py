"""Checkpoints come back as they were; whatever fails, the one before stays usable."""

import errno
import logging
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from spvit.errors import StorageError
from trainers.checkpoint import latest_checkpoint, save_checkpoint


class Killed(BaseException):
    """Stands for SIGKILL: no handler of errors sees it."""


def save(directory: Path, step: int, *, identity: str = "me") -> None:
    parameter = torch.nn.Parameter(torch.full((3,), float(step)))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(3)
    optimizer.step()
    meta = {"identity": identity, "value": 0.1 * step}
    save_checkpoint(directory, step, weights={"w": parameter}, optimizer=optimizer.state_dict(), meta=meta)


def test_round_trip(tmp_path: Path):
    save(tmp_path, 1)
    found = latest_checkpoint(tmp_path, identity="me")
    assert found is not None
    assert found.step == 1
    assert found.meta == {"identity": "me", "value": 0.1}
    assert found.weights()["w"].shape == (3,)
    assert float(found.optimizer()["state"][0]["step"]) == 1.0


def test_nothing_saved_is_no_checkpoint(tmp_path: Path):
    assert latest_checkpoint(tmp_path / "absent") is None


def test_two_are_kept(tmp_path: Path):
    for step in range(1, 6):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000004", "checkpoint-000005"]


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "meta.json", "manifest.json"])
def test_damaged_one_is_set_aside_by_name_and_the_previous_used(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
):
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "checkpoint-000002" / name
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "checkpoint-000002.damaged" in caplog.text
    assert (tmp_path / "checkpoint-000002.damaged").is_dir()


def test_checkpoint_of_another_configuration_is_set_aside_as_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    save(tmp_path, 1, identity="other")
    with caplog.at_level(logging.WARNING):
        assert latest_checkpoint(tmp_path, identity="me") is None
    assert "its configuration differs from this trial's. It is kept as checkpoint-000001.foreign" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001.foreign"]


def test_whoever_only_reads_passes_over_what_is_no_use_and_renames_nothing(tmp_path: Path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "checkpoint-000002" / "meta.json").write_text("{}")
    found = latest_checkpoint(tmp_path, identity="me", is_owner=False)
    assert found is not None
    assert found.step == 1
    assert latest_checkpoint(tmp_path, identity="other", is_owner=False) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000001", "checkpoint-000002"]


def fail_at(monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException) -> Callable[[], int]:
    """Make the `call`-th use of the file system's steps raise. Returns how many were used."""
    used = 0

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal used
            used += 1
            if used == call:
                raise error
            return function(*args, **kwargs)

        return wrapped

    for name in ("replace", "fsync", "open", "mkdir"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return lambda: used


def steps_of_a_save(directory: Path) -> int:
    with pytest.MonkeyPatch.context() as monkeypatch:
        used = fail_at(monkeypatch, -1, Killed())
        for step in (1, 2, 3):
            save(directory, step)
        return used() // 3


def refusal_of(action: Callable[[], None]) -> str | None:
    try:
        action()
    except StorageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EFBIG])
def test_refused_write_at_any_step_is_a_storage_error_and_the_old_one_stays(tmp_path: Path, number: int):
    for call in range(1, steps_of_a_save(tmp_path / "count") + 1):
        directory = tmp_path / str(call)
        save(directory, 1)
        with pytest.MonkeyPatch.context() as monkeypatch:
            fail_at(monkeypatch, call, OSError(number, os.strerror(number)))
            refused = refusal_of(lambda directory=directory: save(directory, 2))
        found = latest_checkpoint(directory)
        assert found is not None
        if refused is None:
            assert found.step == 2
        else:
            assert str(directory) in refused
            assert "resume" in refused
        assert not list(directory.glob(".writing-*"))


def test_kill_at_any_step_leaves_a_whole_checkpoint_and_the_next_save_works(tmp_path: Path):
    survivors = []
    for call in range(1, steps_of_a_save(tmp_path / "count") + 1):
        directory = tmp_path / str(call)
        save(directory, 1)
        save(directory, 2)
        with pytest.MonkeyPatch.context() as monkeypatch:
            fail_at(monkeypatch, call, Killed())
            with suppress(Killed):
                save(directory, 3)
        found = latest_checkpoint(directory)
        assert found is not None
        survivors.append(found.step)
        save(directory, found.step + 1)
        after = latest_checkpoint(directory)
        assert after is not None
        assert after.step == found.step + 1
    assert set(survivors) == {2, 3}
    assert survivors == sorted(survivors)
    assert not list(tmp_path.rglob("*.damaged"))


@pytest.mark.parametrize("large", ["weights", "optimizer"])
def test_file_that_the_system_refuses_is_a_storage_error(tmp_path: Path, large: str):
    save(tmp_path, 1)
    contents: dict[str, Any] = {"weights": {"w": torch.ones(1)}, "optimizer": {}, "meta": {}}
    contents[large] = {"w": torch.ones(100_000)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        refused = refusal_of(lambda: save_checkpoint(tmp_path, 2, **contents))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused is not None
    assert "checkpoint-000002" in refused
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]
