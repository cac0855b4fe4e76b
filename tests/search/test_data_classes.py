"""A model is made for the classes of its data, unless the experiment says for how many."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from search.config import ExperimentConfig
from search.data_classes import with_num_classes
from spvit.errors import ConfigError
from spvit.factory import create_backbone

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}


@pytest.fixture
def three_classes(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for number in range(3):
            (tmp_path / split / f"class{number}").mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / f"class{number}" / "0.png")
    return tmp_path


def experiment(path: Path, **more: object) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {"study": {"name": "mine"}, "model": {"name": NAME, "args": ARGS | more}, "data": {"path": path}}
    )


def test_the_number_comes_from_the_data(three_classes: Path, caplog: pytest.LogCaptureFixture):
    assert with_num_classes(experiment(three_classes)).model.args == ARGS | {"num_classes": 3}
    assert "3 classes of the data, not for its usual 1000" in caplog.text


def test_what_is_set_wins(three_classes: Path):
    given = experiment(three_classes, num_classes=7)
    assert with_num_classes(given) is given


def test_a_model_that_has_as_many_is_left_alone(tmp_path: Path, three_classes: Path):
    for number in range(3, 1000):
        (three_classes / "train" / f"class{number}").mkdir()
        (three_classes / "train" / f"class{number}" / "0.png").touch()
    given = experiment(three_classes)
    assert with_num_classes(given) is given


def test_the_validation_split_is_enough(three_classes: Path):
    (three_classes / "train").rename(three_classes / "elsewhere")
    assert with_num_classes(experiment(three_classes)).model.args["num_classes"] == 3


def test_without_data_nothing_is_decided(tmp_path: Path):
    given = experiment(tmp_path / "nowhere")
    assert with_num_classes(given) is given


def test_an_unknown_model_is_told_of(three_classes: Path):
    given = experiment(three_classes)
    unknown = given.model_copy(update={"model": given.model.model_copy(update={"name": "vit_unknown"})})
    with pytest.raises(ConfigError, match="vit_unknown"):
        with_num_classes(unknown)


def test_a_checkpoint_for_these_classes_is_loaded_exactly(tmp_path: Path, three_classes: Path):
    trained = create_backbone(NAME, args=ARGS | {"num_classes": 3})
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    found = with_num_classes(experiment(three_classes)).model
    loaded = create_backbone(NAME, args=found.args, checkpoint=tmp_path / "weights.safetensors")
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in trained.state_dict().items())
