"""What the documentation says is what the program does."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from search.cli import COMMANDS
from search.experiment import load_experiment
from spvit.errors import ExitCode

ROOT = Path(__file__).parents[2]


def test_the_reference_of_keys_is_current():
    page = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["reference"]()
    assert (ROOT / "docs" / "experiment.md").read_text(encoding="utf-8") == page, "run `make docs`"


def test_every_exit_code_is_documented():
    page = (ROOT / "docs" / "exit_codes.md").read_text(encoding="utf-8")
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == [int(code) for code in ExitCode]


def test_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `spvit-search ([a-z-]+)", readme, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda path: path.stem)
def test_the_experiments_that_come_with_it_are_valid(path):
    assert load_experiment(path).study.name == path.stem


def test_constraints_are_exact_and_without_local_labels():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in pins)
    pinned = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.match(r"[A-Za-z0-9._-]+", text).group().lower() for text in project["dependencies"]}
    assert {re.sub(r"[-_.]+", "-", name) for name in required} <= pinned


def test_links_between_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "experiments" / "README.md"]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_example_of_the_sampler_runs(capsys):
    page = (ROOT / "docs" / "sampler.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(compile(example, "sampler.md", "exec"), names)  # noqa: S102  # our own page
    front = names["study"].best_trials
    assert len(capsys.readouterr().out.splitlines()) == len(front)
    assert max(trial.values[1] for trial in names["study"].trials[1:]) <= 8.0  # the first one is drawn at random
