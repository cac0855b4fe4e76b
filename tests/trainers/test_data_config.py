"""Which settings of the data contradict each other."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from trainers.data_config import DataConfig


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"format": "torchvision"}, r"`data\.name` is required"),
        ({"format": "folder", "name": "CIFAR10"}, "are for data.format = 'timm' or 'torchvision', but it is 'folder'"),
        ({"format": "npz", "download": True}, "but it is 'npz'"),
        ({"repeated_augmentation": 3, "augmentation": "none"}, "augmentation must be 'timm' or 'light'"),
        ({"transforms": {"scale": [0.9, 0.1]}}, r"the lesser first, but is \[0.9, 0.1\]"),
        ({"transforms": {"scale": [0.5, 2.0]}}, r"must not exceed 1"),
        ({"transforms": {"ratio": [0.0, 1.0]}}, r"ratio must be two numbers above 0"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], text: str):
    with pytest.raises(ValidationError, match=text):
        DataConfig.model_validate({"path": Path("images")} | values)


def test_plain_values_come_back_as_they_were():
    config = DataConfig.model_validate({"path": "images", "transforms": {"interpolation": "random"}})
    assert DataConfig.model_validate(config.model_dump(mode="json")) == config
