"""`spvit-search profile` in every runtime that a CPU has, and export's and evaluate's timing in the same one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call_here

from latency_tables.key import Runtime
from latency_tables.table import LatencyTable
from search.certificate import time_side_by_side
from search.experiment import load_experiment
from search.profiling import check_experiment_table
from spvit.errors import ConfigError, LatencyTableError
from spvit.factory import create_backbone
from spvit.pruning import prune
from spvit.schedule import PruningSchedule
from trainers.preprocessing import preprocessing_of

pytestmark = [pytest.mark.large, pytest.mark.integration]
ARGS = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 3}
EXPERIMENT = """
[study]
name = "tiny"
directory = "RUNS"
[model]
name = "vit_tiny_patch16_224"
args = { img_size = 16, patch_size = 8, embed_dim = 24, depth = 2, num_heads = 2, num_classes = 3 }
[data]
format = "npz"
path = "data"
[pruning]
blocks = [1]
stage_keep_rates = [0.5]
selector = "light"
[latency]
runtime = "RUNTIME"
time_limit_s = 0.5
precision_percent = 20
"""


@pytest.fixture(params=[Runtime.EAGER, Runtime.COMPILED, Runtime.ONNXRUNTIME], scope="module")
def file(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "data").mkdir()
    np.savez(folder / "data" / "train", images=np.zeros((3, 16, 16, 3), np.uint8), labels=np.arange(3))
    text = EXPERIMENT.replace("RUNS", str(folder / "runs")).replace("RUNTIME", request.param)
    (folder / "tiny.toml").write_text(text)
    return folder / "tiny.toml"


@pytest.fixture(scope="module")
def profiled(file):
    try:
        return json.loads(call_here("profile", file, "--json")[0])
    except ConfigError as error:
        pytest.skip(str(error))


def test_a_profile_is_of_the_runtime_asked_for(file, profiled):
    table, experiment = LatencyTable.load(Path(profiled["table"])), load_experiment(file)
    assert profiled["runtime"] == table.key.runtime == experiment.latency.runtime
    assert {2, 5} <= table.blocks.keys()
    assert table.end_to_end.num_checked == 3
    assert Path(profiled["plot"]).read_bytes().startswith(b"\x89PNG")
    assert table.sha256 in Path(profiled["page"]).read_text(encoding="utf-8")
    check_experiment_table(table, experiment)
    others = set(Runtime) - {table.key.runtime, Runtime.CUDA_GRAPH}
    for runtime in others:
        other = experiment.model_copy(update={"latency": experiment.latency.model_copy(update={"runtime": runtime})})
        with pytest.raises(LatencyTableError, match=f"runtime is '{table.key.runtime}' in the table but '{runtime}'"):
            check_experiment_table(table, other)


def test_models_are_timed_in_the_runtime_of_the_table(file, profiled):
    del profiled
    backbone = create_backbone("vit_tiny_patch16_224", args=ARGS)
    pruned = prune(backbone, PruningSchedule.from_keep_rates([0.5], [1]))
    latency = load_experiment(file).latency
    models = {"dense": backbone, "pruned": pruned}
    timed = time_side_by_side(models, preprocessing_of(backbone), latency, time_limit_s=0.5)
    assert all(0.0 < timed[name].p50_ms <= timed[name].p95_ms for name in models)
    assert all(getattr(block, "_compiled_call_impl", None) is None for block in backbone.blocks)
    assert all(isinstance(parameter, torch.nn.Parameter) for parameter in backbone.parameters())
