import argparse
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spvit.errors import CheckpointError
from spvit.weights import read_weights

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"model": WEIGHTS, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        {"state_dict": WEIGHTS},
        {"model": {f"module.{name}": value for name, value in WEIGHTS.items()}},
    ],
    ids=["plain", "deit", "state_dict", "parallel"],
)
def test_pickled_weights_are_found(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    torch.testing.assert_close(read_weights(tmp_path / "w.pth"), WEIGHTS)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    torch.testing.assert_close(read_weights(tmp_path / "w.safetensors"), WEIGHTS)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": WEIGHTS, "extra": Code()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"can run code.*save its state dict as safetensors"):
        read_weights(tmp_path / "w.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(CheckpointError, match=r"old\.pth"):
        read_weights(tmp_path / "old.pth")
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"w.{suffix}"
    torch.save(WEIGHTS, path) if suffix == "pth" else save_file(WEIGHTS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=rf"w\.{suffix}"):
        read_weights(path)


def test_other_contents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_text("<html>404</html>")
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        read_weights(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        read_weights(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match=r"its keys are \['epoch'\]"):
        read_weights(path)
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    with pytest.raises(CheckpointError, match="NumPy file"):
        read_weights(tmp_path / "w.npz")
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_weights(tmp_path / "none.pth")


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    torch.save(WEIGHTS | {"a.bias": torch.tensor([1.0, float("nan")])}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"a\.bias holds numbers that are not finite"):
        read_weights(tmp_path / "w.pth")
