"""What the driver of a search imports must not load torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np

import trainers


def test_description_of_data_needs_no_torch(tmp_path: Path):
    for split in ("train", "val"):
        np.savez(tmp_path / f"{split}.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(3))
    code = f"""
import sys
from trainers import describe_data
from trainers.config import DataConfig
from trainers.metrics import EpochMetrics
print(describe_data(DataConfig(format="npz", path={str(tmp_path)!r})).num_classes)
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def test_every_public_name_is_there():
    assert all(getattr(trainers, name) is not None for name in trainers.__all__)
