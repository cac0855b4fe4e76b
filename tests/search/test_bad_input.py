"""Every kind of bad input through the command line: its exit code, one clear message, and nothing written by halves."""

import hashlib
import json
import re

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from small_table import small_table

from latency_tables.key import SelectorOptions
from latency_tables.table_document import content_sha256
from search.cli import run
from search.experiment import load_experiment
from search.inputs import check_inputs
from search.profiling import check_experiment_table
from spvit.errors import ExitCode
from spvit.factory import create_backbone
from spvit.options import SelectorKind
from spvit.selector_kinds import make_selector

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 16, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 4}
EXPERIMENT = f"""
[study]
name = "mine"
[model]
name = "{NAME}"
checkpoint = "weights.safetensors"
[model.args]
{chr(10).join(f"{key} = {value}" for key, value in ARGS.items())}
[data]
format = "npz"
path = "data"
augmentation = "none"
[pruning]
blocks = [1, 2]
[latency]
table = "table.json"
batch_size = 4
max_latency_share = 0.9
[search.space]
stage_keep_rates = {{ low = 0.2, high = 0.9 }}
"""
DYNAMIC_VIT = {
    "norm": "in_conv.0",
    "project": "in_conv.1",
    "hidden": "out_conv.0",
    "narrow": "out_conv.2",
    "out": "out_conv.4",
}


def _split(path, *, size=16, num_classes=4):
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (12, size, size), np.uint8), labels=np.arange(12) % num_classes)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An experiment with nothing wrong, its data, weights and table, and an empty runs folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPVIT_RUNS_DIR", str(tmp_path / "runs"))
    backbone = create_backbone(NAME, args=ARGS)
    save_file(backbone.state_dict(), tmp_path / "weights.safetensors")
    small_table(backbone, NAME).save(tmp_path / "table.json")
    for name in ("data", "runs"):
        (tmp_path / name).mkdir()
    for split in ("train", "val"):
        _split(tmp_path / "data" / f"{split}.npz")
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    return tmp_path


def _listing(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def _folders(folder, *, train=("a", "b"), val=("a", "b")):
    """The data as folders of classes, a picture in each."""
    for split, names in (("train", train), ("val", val)):
        for name in names:
            (folder / "data" / split / name).mkdir(parents=True)
            Image.new("L", (16, 16)).save(folder / "data" / split / name / "0.png")


def _with_an_empty_class(folder):
    _folders(folder)
    (folder / "data" / "val" / "b" / "0.png").unlink()


def _folders_in_colour(folder):
    _folders(folder)
    text = (folder / "mine.toml").read_text()
    (folder / "mine.toml").write_text(text.replace('checkpoint = "weights.safetensors"\n', ""))


def _truncate(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def _flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _tampered(path):
    document = json.loads(path.read_text())
    document["dense"]["median_ms"] *= 2
    path.write_text(json.dumps(document))


def _rewritten(path, change):
    """The table with a change, behind a true hash."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document | {"sha256": content_sha256(document)}))


def _of_another_device(path):
    _rewritten(path, lambda document: document["device"].update(cpu_model="Board 7"))


def _with_a_slow_row(path):
    _rewritten(path, lambda document: document["blocks"][1].update(low_ms=3.5, median_ms=3.7, high_ms=3.8))


def _without_unit(path):
    _rewritten(path, lambda document: document.pop("unit"))


def _with_selectors(path):
    """The weights with two selectors, named as DynamicViT names its own."""
    weights = load_file(path)
    selector = make_selector(SelectorKind.SINGLE_HEAD, create_backbone(NAME, args=ARGS).blocks[0])
    for name, value in selector.state_dict().items():
        part, _, rest = name.partition(".")
        weights |= {f"score_predictor.{stage}.{DYNAMIC_VIT[part]}.{rest}": value.clone() for stage in range(2)}
    save_file(weights, path)


SET = "--set"
FOLDER = [SET, "data.format=folder"]
MATRIX = {
    "unknown key": ([SET, "training.epoch=3"], None, 3, r"unknown key `training\.epoch`; did.*`training\.epochs`"),
    "unknown table": ([SET, "trainig.epochs=3"], None, 3, r"unknown .*`trainig.*did you mean `training"),
    "wrong type": ([SET, "training.epochs=many"], None, 3, r"`training\.epochs`: a whole number was required.*'many'"),
    "out of range": ([SET, "training.epochs=0"], None, 3, r"`training\.epochs`: 1 or more was required, but got 0"),
    "study name leads elsewhere": ([SET, "study.name=../x"], None, 3, r"`study\.name`.*but got '\.\./x'"),
    "not TOML": ([], lambda f: (f / "mine.toml").write_text("[study\n"), 3, r"mine\.toml: not valid TOML"),
    "missing file": ([], lambda f: (f / "mine.toml").unlink(), 3, r"mine\.toml: no such experiment file"),
    "unknown model": ([SET, "model.name=vit_tiny_patch16_225"], None, 3, r"model\.name.*'vit_tiny_patch16_225' came"),
    "blocks too deep": ([SET, "pruning.blocks=[1,9]"], None, 3, r"block 9 needs a deeper model.*blocks 0 to 2"),
    "missing checkpoint": ([], lambda f: (f / "weights.safetensors").unlink(), 3, r"weights\.safetensors"),
    "damaged checkpoint": ([], lambda f: _truncate(f / "weights.safetensors"), 3, r"weights\.safetensors.*Copy it"),
    "empty checkpoint": ([], lambda f: _truncate(f / "weights.safetensors", 0), 3, r"weights\.safetensors"),
    "another model's checkpoint": ([SET, "model.args.embed_dim=64"], None, 3, r"weights\.safetensors"),
    "selectors of another kind than some trials'": (
        [SET, "pruning.selector=single_head", SET, 'search.space.pruning.selector.choices=["single_head", "light"]'],
        lambda f: _with_selectors(f / "weights.safetensors"), 3,
        r"trials with light selectors.*weights\.safetensors holds selectors.*LightSelectors",
    ),
    "missing table": ([], lambda f: (f / "table.json").unlink(), 4, r"table\.json: there is no such file.*profile"),
    "truncated table": ([], lambda f: _truncate(f / "table.json"), 4, r"table\.json: it is not JSON.*profile"),
    "changed table": ([], lambda f: _tampered(f / "table.json"), 4, r"table\.json"),
    "another batch's table": ([SET, "latency.batch_size=8"], None, 4, r"batch_size is 4 in the table but 8 here"),
    "another device's table": (
        [], lambda f: _of_another_device(f / "table.json"), 4,
        r"device\.cpu_model is 'Board 7' in the table but .* here.*latency\.target = \"other_device\"",
    ),
    "non-monotone table": (
        [], lambda f: _with_a_slow_row(f / "table.json"), 4,
        r"table\.json: blocks: num_tokens=17 .* cannot be faster than num_tokens=10",
    ),
    "a table without units": ([], lambda f: _without_unit(f / "table.json"), 4, r"the file lacks the column unit"),
    "a device that drifted": (
        [SET, "latency.on_drift=refuse"], None, 4,
        r"This device now takes 0\.\d+ times .*latency\.on_drift = \"refuse\"",
    ),
    "no table of another device": (
        [SET, "latency.table=", SET, "latency.target=other_device"], None, 2,
        r"latencies of another device, which cannot be measured here",
    ),
    "another head weighting's table": (
        [SET, "pruning.head_weighting=mean"], None, 4,
        r'head_weighting = "senet", but .*pruning\.head_weighting = "mean"',
    ),
    "missing data folder": ([SET, "data.path=nowhere"], None, 5, r"data\.path must be a folder.*nowhere"),
    "selectors of the weights for some of the blocks that elastic trials need": (
        [SET, "pruning.selector=single_head", SET, "search.space.blocks={ choices = [[1, 2], [0, 2]] }"],
        lambda f: _with_selectors(f / "weights.safetensors"), 3,
        r"elastic trials \(search\.mode = 'auto'\), with a selector before each block, cannot be.*holds 2 selectors",
    ),
    "missing split": ([], lambda f: (f / "data" / "val.npz").unlink(), 5, r"val\.npz is missing"),
    "damaged split": ([], lambda f: _truncate(f / "data" / "train.npz"), 5, r"train\.npz is damaged"),
    "flipped byte in a split": ([], lambda f: _flip_a_byte(f / "data" / "val.npz"), 5, r"val\.npz is damaged"),
    "flipped byte in train": ([], lambda f: _flip_a_byte(f / "data" / "train.npz"), 5, r"train\.npz is damaged"),
    "images of another size": (
        [], lambda f: _split(f / "data" / "val.npz", size=20), 5, r"\(16, 16, 1\).*\(20, 20, 1\)",
    ),
    "more classes than outputs": (
        [], lambda f: _split(f / "data" / "train.npz", num_classes=7), 5, r"7 classes, but the model has 4 outputs",
    ),
    "fewer images than classes": (
        [], lambda f: np.savez(f / "data" / "train.npz", images=np.zeros((3, 16, 16), np.uint8), labels=[0, 1, 3]), 5,
        r"each of the 4 classes, but there are 3 images",
    ),
    "no folders of classes": (FOLDER, None, 5, r"data.train is missing.*CLASS/\*\.jpg"),
    "no validation folder": (FOLDER, lambda f: _folders(f, val=()), 5, r"data.val is missing"),
    "empty class": (FOLDER, _with_an_empty_class, 5, r"val.b holds no images"),
    "classes of one split only": (
        FOLDER, lambda f: _folders(f, val=("a", "c")), 5, r"these are in one only: c, b \(2 in all\)",
    ),
    "more class folders than outputs": (
        FOLDER, lambda f: _folders(f, train="abcde", val="abcde"), 5, r"5 classes, but the model has 4 outputs",
    ),
    "unknown auto augment": (
        [SET, "data.augmentation=timm", *FOLDER, SET, "data.transforms.auto_augment=nonsense", SET,
         "model.args.in_chans=3"],
        _folders_in_colour, 3, r"data\.transforms\.auto_augment was required.*'nonsense' came",
    ),
    "unknown data set": (
        [SET, "data.format=torchvision", SET, "data.name=CIFAR11"], None, 3, r"'CIFAR11' came\. Did you mean CIFAR10",
    ),
    "data set that is not there": (
        [SET, "data.format=torchvision", SET, "data.name=CIFAR10",], None, 5,
        r"'CIFAR10': the split 'train' cannot be opened in .*data: Dataset not found.*data\.download = true",
    ),
    "a stream": ([SET, "data.format=timm", SET, "data.name=wds/x"], None, 3, r"'wds/x' is a stream"),
    "budget below the minimum": (
        [SET, "latency.max_latency_share=0.01"], None, 11,
        r"within 0\.\d+ ms \(latency\.max_latency_share = 0\.01.*the cheapest network .* takes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", ["launch", "run"])
@pytest.mark.parametrize("case", MATRIX)
def test_a_search_that_cannot_be_is_refused_before_anything_is_written(folder, capsys, command, case):
    options, damage, code, text = MATRIX[case]
    if damage is not None:
        damage(folder)
    before = _listing(folder)
    assert run([command, "mine.toml", *options]) == code
    told = capsys.readouterr()
    message = "\n".join(line for line in told.err.splitlines() if not line.startswith(("measuring", "warning: ")))
    assert message.startswith("error: ")
    assert re.search(text, message, re.DOTALL)
    assert "Traceback" not in told.err
    assert len(message.splitlines()) <= 10
    assert (told.out, _listing(folder)) == ("", before)


PROGRESSIVE = {
    "no weights": (
        [], lambda f: (f / "mine.toml").write_text(EXPERIMENT.replace('checkpoint = "weights.safetensors"\n', "")),
        r"needs trained weights: set model\.checkpoint or model\.pretrained",
    ),
    "a fresh classifier": (
        [SET, "model.args.num_classes=6"], None,
        r"weights\.safetensors is not for the model's 6 classes\. Set model\.args\.num_classes",
    ),
    "missing weights": ([], lambda f: (f / "weights.safetensors").unlink(), r"weights\.safetensors"),
    "weights with selectors": (
        [SET, "pruning.selector=single_head"], lambda f: _with_selectors(f / "weights.safetensors"),
        r"weights\.safetensors holds 2 token selectors.*the backbone's own weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRESSIVE)
def test_a_progressive_insertion_that_cannot_be_is_refused_before_anything_is_measured(folder, capsys, case):
    options, damage, text = PROGRESSIVE[case]
    if damage is not None:
        damage(folder)
    before = _listing(folder)
    assert run(["progressive", "mine.toml", *options]) == ExitCode.CONFIG
    told = capsys.readouterr()
    assert re.search(text, told.err, re.DOTALL)
    assert (told.out, _listing(folder)) == ("", before)


def test_a_table_is_not_refused_for_a_weighting_that_no_selector_has(folder):
    check_experiment_table(
        small_table(create_backbone(NAME, args=ARGS), NAME, selector=SelectorOptions(kind=SelectorKind.SINGLE_HEAD)),
        load_experiment(folder / "mine.toml", ["pruning.head_weighting=mean", "pruning.selector=single_head"]),
    )


def test_with_nothing_wrong_the_inputs_are_accepted(folder):
    check_inputs(load_experiment(folder / "mine.toml"))


@pytest.mark.parametrize("command", ["status", "pareto", "trials", "export", "resume", "dashboard"])
@pytest.mark.parametrize(("name", "text"), [("../x", "a study's name has letters"), ("nope", "no study 'nope'")])
def test_a_study_that_cannot_be_is_refused(folder, capsys, command, name, text):
    before = _listing(folder)
    assert run([command, name]) == ExitCode.USAGE
    assert text in capsys.readouterr().err
    assert _listing(folder) == before


@pytest.mark.parametrize("command", ["status", "pareto", "trials", "export", "resume"])
@pytest.mark.parametrize("damaged", ["study.json", "study.db"])
def test_a_damaged_study_is_a_storage_error_that_names_the_file(folder, capsys, command, damaged):
    study = folder / "runs" / "old"
    study.mkdir()
    (study / "study.json").write_text(json.dumps({"name": "old", "storage": None}))
    (study / damaged).write_bytes(b"\x00 no such thing")
    before = _listing(folder)
    assert run([command, "old"]) == ExitCode.STORAGE
    told = capsys.readouterr().err
    assert str(study) in told
    assert "Traceback" not in told
    assert _listing(folder) == before


def test_what_is_no_export_is_not_evaluated(folder, capsys):
    assert run(["evaluate", "data"]) == ExitCode.CONFIG
    assert re.search(r"data: a folder written by `spvit-search export` was required", capsys.readouterr().err)


@pytest.mark.parametrize("case", [case for case, (_, _, code, _) in MATRIX.items() if code == ExitCode.DATA])
def test_fine_tuning_on_bad_data_is_refused_before_anything_is_written(folder, capsys, case):
    options, damage, code, text = MATRIX[case]
    if damage is not None:
        damage(folder)
    before = _listing(folder)
    assert run(["fine-tune", "mine.toml", *options]) == code
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert re.search(text, told, re.DOTALL)
    assert _listing(folder) == before


def test_evaluation_needs_no_training_split(folder, capsys):
    (folder / "data" / "train.npz").unlink()
    assert run(["evaluate", "mine.toml", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["evaluation"]["num_images"] == 12


def test_images_damaged_beyond_the_limit_end_the_training_with_their_names(folder, capsys):
    _folders(folder)
    (folder / "data" / "val" / "a" / "0.png").write_bytes(b"no picture")
    options = [*FOLDER, SET, "data.max_damaged=0", SET, "training.epochs=1", SET, "training.selector_warmup_steps=0"]
    assert run(["fine-tune", "mine.toml", *options]) == ExitCode.DATA
    assert re.search(r"max_damaged = 0 images may be damaged, but 1 are: .*a.0\.png", capsys.readouterr().err)


def test_fine_tuning_without_data_names_the_folder_and_writes_no_checkpoint(folder, capsys):
    assert run(["fine-tune", "mine.toml", "--set", "data.path=nowhere"]) == ExitCode.DATA
    assert "nowhere" in capsys.readouterr().err
    assert not list((folder / "runs").rglob("checkpoint-*"))


def test_a_missing_export_is_not_called_a_missing_experiment(folder, capsys):
    (folder / "export" / "best").mkdir(parents=True)
    (folder / "export" / "best" / "model.safetensors").touch()
    assert run(["evaluate", "export/bets"]) == ExitCode.USAGE
    text = capsys.readouterr().err
    assert "a folder written by `spvit-search export`, or an experiment file (.toml), was required" in text
    assert "In export: best." in text
