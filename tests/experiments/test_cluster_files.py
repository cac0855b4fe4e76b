"""The cluster files that come with the product are what KubeRay and Ray say they take."""

import json
import shlex
from copy import deepcopy
from importlib.resources import files
from pathlib import Path

import click
import jsonschema
import pytest
import yaml

from search.cli import cli

FOLDER = Path(__file__).parents[2] / "experiments" / "cluster"
RAYJOB_SCHEMA = Path(__file__).parent / "schemas" / "rayjob_v1.json"


@pytest.fixture
def rayjob():
    return yaml.safe_load((FOLDER / "rayjob.yaml").read_text())


@pytest.fixture
def ray_up():
    return yaml.safe_load((FOLDER / "ray_up.yaml").read_text())


def _closed(schema):
    """A Kubernetes server drops keys that a schema does not name: here they are errors."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    if closed.pop("x-kubernetes-int-or-string", False):
        closed.pop("anyOf", None)
        closed["type"] = ["integer", "string"]
    return closed


@pytest.fixture(scope="module")
def rayjob_validator():
    schema = json.loads(RAYJOB_SCHEMA.read_text())["schema"]
    schema["properties"]["metadata"] = {}  # Kubernetes' own; the schema says only that it is an object
    return jsonschema.Draft7Validator(_closed(schema))


@pytest.fixture(scope="module")
def ray_up_validator():
    return jsonschema.Draft7Validator(json.loads(files("ray.autoscaler").joinpath("ray-schema.json").read_text()))


def test_the_rayjob_is_one(rayjob, rayjob_validator):
    assert [error.message for error in rayjob_validator.iter_errors(rayjob)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entrypont"), "x"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"), {"num-cpus": 0}),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "backoffLimit"), "three"),
    ],
)
def test_a_wrong_rayjob_is_none(rayjob, rayjob_validator, path, value):
    changed = deepcopy(rayjob)
    table = changed
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    assert list(rayjob_validator.iter_errors(changed))


def test_the_cluster_file_is_one(ray_up, ray_up_validator):
    assert [error.message for error in ray_up_validator.iter_errors(ray_up)] == []


def test_a_wrong_cluster_file_is_none(ray_up, ray_up_validator):
    assert list(ray_up_validator.iter_errors(ray_up | {"cluster_nam": "x"}))
    assert list(ray_up_validator.iter_errors({key: value for key, value in ray_up.items() if key != "provider"}))


def test_the_job_runs_a_command_that_there_is(rayjob):
    program, name, *arguments = shlex.split(rayjob["spec"]["entrypoint"])
    assert program == "spvit-search"
    command = cli.get_command(click.Context(cli), name)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_neither_opens_the_cluster(rayjob, ray_up):
    assert rayjob["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    starts = [
        line for line in ray_up["head_start_ray_commands"] + ray_up["worker_start_ray_commands"] if "start" in line
    ]
    assert starts
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_only_the_head_is_given_credentials(rayjob):
    cluster = rayjob["spec"]["rayClusterSpec"]
    workers = [c for group in cluster["workerGroupSpecs"] for c in group["template"]["spec"]["containers"]]
    assert all("envFrom" not in container and "env" not in container for container in workers)
