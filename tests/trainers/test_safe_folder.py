"""A crash at any point leaves a whole folder or none; any later damage is noticed."""

import json
from pathlib import Path

import pytest

from trainers.safe_folder import (
    MANIFEST,
    DamagedFolderError,
    replace_folder,
    set_aside,
    verify_folder,
    write_folder,
)

FILES = {"a.bin": b"first" * 100, "b.bin": b"second" * 100}


def write(target: Path, files: dict[str, bytes] = FILES) -> None:
    write_folder(target, {name: lambda path, data=data: path.write_bytes(data) for name, data in files.items()})


def test_what_was_written_verifies(tmp_path: Path):
    write(tmp_path / "x")
    verify_folder(tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


@pytest.mark.parametrize("name", ["a.bin", "b.bin", MANIFEST])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_file_is_noticed(tmp_path: Path, name: str, share: float):
    write(tmp_path / "x")
    path = tmp_path / "x" / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DamagedFolderError):
        verify_folder(tmp_path / "x")


@pytest.mark.parametrize("name", ["a.bin", MANIFEST])
def test_every_flipped_bit_is_noticed(tmp_path: Path, name: str):
    write(tmp_path / "x")
    path = tmp_path / "x" / name
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 7):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        if name == MANIFEST and _means_the_same(whole, bytes(damaged)):
            continue
        path.write_bytes(damaged)
        with pytest.raises(DamagedFolderError):
            verify_folder(tmp_path / "x")


def _means_the_same(whole: bytes, damaged: bytes) -> bool:
    try:
        return json.loads(whole) == json.loads(damaged)
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["a.bin", MANIFEST])
def test_missing_file_is_noticed(tmp_path: Path, name: str):
    write(tmp_path / "x")
    (tmp_path / "x" / name).unlink()
    with pytest.raises(DamagedFolderError, match="cannot be read"):
        verify_folder(tmp_path / "x")


def test_files_swapped_between_folders_are_noticed(tmp_path: Path):
    write(tmp_path / "x")
    write(tmp_path / "y", {name: data.upper() for name, data in FILES.items()})
    (tmp_path / "y" / "a.bin").replace(tmp_path / "x" / "a.bin")
    with pytest.raises(DamagedFolderError, match=r"a\.bin differs"):
        verify_folder(tmp_path / "x")


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_takes_the_place_of_another_with_nothing_left(tmp_path: Path, can_exchange: bool, monkeypatch):
    if not can_exchange:
        monkeypatch.setattr("trainers.safe_folder._exchange", lambda *_: False)
    for name in ("old", "new"):
        write_folder(tmp_path / name, {"file": lambda path, name=name: path.write_text(name)})
    replace_folder(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "old" / "file").read_text() == "new"
    verify_folder(tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_set_aside_never_overwrites(tmp_path: Path):
    for _ in range(3):
        write(tmp_path / "x")
        set_aside(tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.damaged", "x.damaged-2", "x.damaged-3"]
