"""An export checked anew: every file in every format, changes of any of them, and a machine that is too slow."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exported_study import export_trained, failed, seal, trained_study, write_images

from search.certificate import Verdict
from search.check_files import check_files
from search.check_report import CheckState
from search.check_request import CheckRequest
from search.checking import check_export
from search.format_certificate import FormatCertificate
from search.formats import ExportFormat
from search.stored_certificate import StoredCertificate
from spvit.errors import CheckpointError


@pytest.fixture
def folder(every_format):
    """An export in every format; its validation split has 12 images."""
    return Path(every_format[1].directory)


@pytest.fixture(scope="module")
def weights(every_format, tmp_path_factory):
    """An export of weights alone, which is checked in no time."""
    destination = tmp_path_factory.mktemp("weights") / "model"
    export_trained(every_format[0], destination, formats=())
    return destination


@pytest.fixture
def copy(weights, tmp_path):
    return shutil.copytree(weights, tmp_path / "model")


def check(folder, **options):
    return check_export(CheckRequest(folder=folder, time_limit_s=0.2, **options))


def test_every_format_gives_the_models_answers(folder):
    document = json.loads((folder / "certificate.json").read_text())
    assert [entry["format"] for entry in document["formats"]] == ["safetensors", "onnx", "torch_export"]
    for entry in document["formats"]:
        assert entry["max_difference"] <= 1e-4
        assert entry["num_other_answers"] == 0
        assert entry["num_images"] == 12
        assert entry["val_top1"] == document["formats"][0]["val_top1"]
        assert entry["timing"]["elapsed"]["low_ms"] <= entry["timing"]["elapsed"]["p50_ms"]
    assert set(document["file_sha256"]) == {
        *("model.safetensors", "model.onnx", "model.pt2", "config.json", "config.toml", "labels.txt"),
    }


ONNX = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
run = lambda images: session.run(None, {"images": images})[0]
"""
PROGRAM = """
import sys, numpy as np, torch
model = torch.export.load(sys.argv[1] + "/model.pt2").module()
run = lambda images: model(torch.from_numpy(images)).detach().numpy()
"""
ANSWERS = """
images = np.load(sys.argv[2])
for size in (1, 5):
    np.save(f"{sys.argv[3]}/{size}.npy", np.concatenate([run(images[i:i + size]) for i in range(0, len(images), size)]))
assert not {"spvit", "search", "trainers", "timm"} & set(sys.modules)
"""


@pytest.mark.parametrize("program", [ONNX, PROGRAM], ids=["onnx", "torch_export"])
def test_files_run_without_this_package_at_any_batch_size(folder, tmp_path, program):
    import torch

    import spvit

    images = np.random.default_rng(0).standard_normal((12, 1, 16, 16), dtype=np.float32)
    np.save(tmp_path / "images.npy", images)
    arguments = [sys.executable, "-W", "ignore", "-c", program + ANSWERS, folder, tmp_path / "images.npy", tmp_path]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(a) for a in arguments], check=True, cwd=tmp_path, env=environment)
    with torch.inference_mode():
        expected = spvit.load(folder)(torch.from_numpy(images)).numpy()
    for size in (1, 5):
        answers = np.load(tmp_path / f"{size}.npy")
        np.testing.assert_allclose(answers, expected, atol=1e-4)
        assert (answers.argmax(1) == expected.argmax(1)).all()


def test_timm_loads_the_folder_by_itself(folder):
    import torch

    import spvit
    import spvit.timm_hub

    import timm  # isort: skip

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(3, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), spvit.load(folder)(images), rtol=0, atol=1e-6)
    assert timm.data.resolve_data_config(model=model)["input_size"] == [1, 16, 16]
    assert model.pretrained_cfg["label_names"] == (folder / "labels.txt").read_text().split()


def test_an_export_that_was_left_alone_keeps_its_promises_on_files_and_answers(folder):
    report = check(folder, max_latency_ms=1e6)
    names = {line.what for line in report.lines}
    assert {"manifest", "labels", "data", "model.onnx answers", "model.pt2 top-1", "model.safetensors budget"} <= names
    assert not {name for name in failed(report) if not name.endswith("speed-up")}  # which noise may take away


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "config.toml", "labels.txt"])
def test_a_changed_file_fails_and_is_not_run(copy, name, sealed):
    _flip(copy / name)
    if sealed:
        seal(copy)
    report = check(copy)
    assert name in failed(report)
    assert ("manifest" in failed(report)) is not sealed
    assert not report.is_passed
    is_run = any(line.what == "data" for line in report.lines)
    assert is_run is (name == "labels.txt")


def test_exchanged_labels_fail_even_with_every_hash_made_to_fit(copy):
    labels = (copy / "labels.txt").read_text().splitlines()
    (copy / "labels.txt").write_text("\n".join(reversed(labels)))
    document = json.loads((copy / "certificate.json").read_text())
    document["file_sha256"]["labels.txt"] = _hash(copy / "labels.txt")
    (copy / "certificate.json").write_text(json.dumps(document))
    seal(copy)
    assert "labels" in failed(check(copy))


def test_a_certificate_cannot_promise_an_accuracy_that_the_weights_do_not_have(copy):
    """Hashes can be made to fit; answers cannot."""
    document = json.loads((copy / "certificate.json").read_text())
    document["formats"][0]["val_top1"] += 50.0
    (copy / "certificate.json").write_text(json.dumps(document))
    seal(copy)
    assert "model.safetensors top-1" in failed(check(copy))


def test_a_changed_file_is_left_out_and_the_others_are_run(folder, tmp_path):
    changed = shutil.copytree(folder, tmp_path / "model")
    _flip(changed / "model.onnx")
    stored = StoredCertificate.read(changed)
    files = check_files(changed, stored.file_sha256, {known.format for known in stored.formats})
    assert files.may_be_run
    assert files.formats == (ExportFormat.SAFETENSORS, ExportFormat.TORCH_EXPORT)
    assert {line.what for line in files.lines if line.state is CheckState.FAIL} == {"manifest", "model.onnx"}


def test_other_images_are_found(copy, tmp_path):
    assert "data" in failed(check(copy, data=write_images(tmp_path / "other", seed=1)))


def test_missing_data_is_a_line_that_fails(copy, tmp_path):
    report = check(copy, data=tmp_path / "nowhere")
    [line] = [line for line in report.lines if line.what == "running"]
    assert line.state is CheckState.FAIL
    assert "data.path must be a folder" in line.text


def test_a_folder_without_certificate_is_no_export(tmp_path):
    with pytest.raises(CheckpointError, match=r"certificate\.json is missing or damaged"):
        check(tmp_path)


def test_a_certificate_is_read_as_it_was_written(folder):
    for entry in json.loads((folder / "certificate.json").read_text())["formats"]:
        kept = {
            key: value for key, value in entry.items() if key not in {"file", "verdict", "prediction_error_percent"}
        }
        certificate = FormatCertificate.from_dict(kept)
        assert json.loads(json.dumps(certificate.to_dict())) == kept
        assert FormatCertificate.from_dict(certificate.to_dict()) == certificate
        slow = replace(certificate.timing, ratio_low=0.9, ratio=0.99, ratio_high=1.1)
        assert slow.speed_up is None
        assert "no speed-up beyond the noise" in slow.speed_up_text


def _hash(path):
    from trainers.safe_folder import file_hash

    return file_hash(path)


@contextmanager
def loaded_core(num_programs):
    """This process on one core, which so many others want as well."""
    before = os.sched_getaffinity(0)
    core = min(before)
    spin = f"import os; os.sched_setaffinity(0, {{{core}}}); print(flush=True)\nwhile True: pass"
    programs = [subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) for _ in range(num_programs)]
    try:
        for program in programs:
            program.stdout.readline()
        os.sched_setaffinity(0, {core})
        yield
    finally:
        os.sched_setaffinity(0, before)
        for program in programs:
            program.kill()
            program.communicate()


def test_a_core_that_is_loaded_misses_the_budget_though_the_model_is_fast_beside_the_dense_one(tmp_path):
    """CPU time and ratios are blind to what other programs take; the wall is not. A batch lasts several time slices."""
    study = trained_study(tmp_path, latency={"batch_size": 512, "max_latency_share": 0.9})
    report = export_trained(study, tmp_path / "model", formats=(), max_latency_ms=1e6)
    assert report.verdict is Verdict.MET
    document = json.loads((tmp_path / "model" / "certificate.json").read_text())
    document["max_latency_ms"] = max(2 * report.measured.p50_ms, report.dense_ms)
    (tmp_path / "model" / "certificate.json").write_text(json.dumps(document))
    with loaded_core(4):
        result = check(tmp_path / "model")
    [line] = [line for line in result.lines if line.what == "model.safetensors budget"]
    assert line.state is CheckState.FAIL
    assert "not met" in line.text
    assert line.text.endswith("this machine is throttled or busy")
