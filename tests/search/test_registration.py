"""An export in MLflow's model registry, and loaded from there by a process that has none of our packages."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import spvit
from search.registration import NEEDED, register_export
from search.tracking import default_tracking_uri, open_writer

LOAD = """
import sys
for name in ("spvit", "search", "trainers", "latency_tables", "torch", "timm"):
    sys.modules[name] = None  # importing it raises, as where it is not installed
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
images = np.load(sys.argv[3])
for size in (1, 5):
    np.save(f"{sys.argv[4]}/{size}.npy", model.predict(images[:size])["logits"])
"""


@pytest.fixture(scope="module")
def registered(every_format):
    study, report = every_format
    return register_export(study, report)


@pytest.fixture
def uri(every_format):
    return default_tracking_uri(Path(every_format[0].directory).parent)


def test_a_fresh_process_loads_it_and_gets_the_models_answers(every_format, registered, uri, tmp_path):
    assert registered.problem == ""
    images = np.random.default_rng(0).standard_normal((5, 1, 16, 16), dtype=np.float32)
    np.save(tmp_path / "images.npy", images)
    arguments = ["-W", "ignore", "-c", LOAD, uri, registered.model_uri, tmp_path / "images.npy", tmp_path]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, *map(str, arguments)], check=True, cwd=tmp_path, env=environment)
    with torch.inference_mode():
        expected = spvit.load(every_format[1].directory)(torch.from_numpy(images)).numpy()
    for size in (1, 5):
        np.testing.assert_allclose(np.load(tmp_path / f"{size}.npy"), expected[:size], atol=1e-4)


def test_the_registry_says_what_it_is_and_what_it_needs(every_format, registered, uri):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    version = client.get_model_version(registered.name, registered.version)
    assert registered.name == "spvit-small"
    assert version.tags["spvit.trial"] == str(every_format[1].trial)
    named = client.get_model_version_by_alias(registered.name, f"trial-{every_format[1].trial}")
    assert named.version == version.version
    assert [line.split("==")[0] for line in registered.requirements] == list(NEEDED)
    mlflow.set_tracking_uri(uri)
    info = mlflow.models.get_model_info(registered.model_uri)
    assert info.signature.inputs.inputs[0].shape == (-1, 1, 16, 16)
    assert info.signature.outputs.inputs[0].shape == (-1, 4)
    assert info.saved_input_example_info is not None


def test_it_is_a_run_of_its_own_beside_the_trials(every_format, registered, uri):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(registered.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["spvit.role"] == "export"
    assert run.data.metrics["onnx/val_top1"] == pytest.approx(every_format[1].formats[1].val_top1)
    assert {"certificate.json", "config.toml"} <= {file.path for file in client.list_artifacts(registered.run_id)}
    # The tracker finds its runs by their tags; an export must not be taken for the search.
    assert registered.run_id not in open_writer(Path(every_format[0].directory)).run_ids.values()


def test_without_onnx_or_without_mlflow_the_export_stands_and_the_reason_is_told(every_format, tmp_path):
    study, report = every_format
    missing = register_export(study, replace(report, directory=str(tmp_path)))
    assert "has none (--format onnx" in missing.to_text()
    unreachable = register_export(study, report, uri="sqlite:////proc/nowhere/mlflow.db")
    assert not unreachable.is_registered
    assert "MLflow cannot be written" in unreachable.problem
