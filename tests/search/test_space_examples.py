"""Every example of the pages on spaces and results is read, searched and run."""

import contextlib
import io
import re
import tomllib
from pathlib import Path

import finished_study
import pytest
import tabulated

from search.experiment import validate
from search.records import Origin
from spvit.schedule import TokenGeometry

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = re.findall(r"```toml\n(.*?)```", (DOCS / "space.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_a_space_is_searched(tmp_path, monkeypatch, number):
    monkeypatch.setattr(tabulated, "GEOMETRY", TokenGeometry(depth=12, num_patches=196))
    monkeypatch.setattr("search.warm_starts.NUM_DRAWS", 20)
    monkeypatch.setattr("search.warm_starts.NUM_STEPS", 20)
    values = tabulated.experiment(tmp_path, sampler="random").model_dump(mode="json")
    values["study"]["directory"], values["pruning"] = str(tmp_path), {"blocks": [3, 6, 9], "base_keep_rate": 0.7}
    given = tomllib.loads(EXAMPLES[number])
    search = {"space": {}, "warm_starts": False, "num_trials": 3, **given.pop("search")}
    values["search"] |= search
    for table, changes in given.items():
        values[table] |= changes
    config = validate(values, source=f"example {number} of docs/space.md")
    tabulated.run(tabulated.make_driver(config))
    trials = [t for t in tabulated.make_store(config).trials if t.origin is not Origin.BASELINE]
    num_own = len(config.search.enqueue)
    assert [t.origin for t in trials[:num_own]] == [Origin.ENQUEUED] * num_own
    assert len(trials) == 3
    assert all(trial.params for trial in trials)


def test_there_is_an_example_of_each_kind():
    text = "\n".join(EXAMPLES)
    for words in ("log = true", 'type = "int"', "choices", "when", "num_selectors", "blocks", "temperature", "enqueue"):
        assert words in text
    assert len(EXAMPLES) >= 11


def test_the_example_of_the_frames_runs(tmp_path, monkeypatch):
    finished_study.make_study(finished_study.experiment(tmp_path / "runs"), finished_study.table(), num_trials=8)
    code = re.search(r"```python\n(.*?)```", (DOCS / "results.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    out, names = io.StringIO(), {}
    with contextlib.redirect_stdout(out):
        exec(code, names)  # noqa: S102 - our own page
    assert len(names["trials"]) == 9
    assert names["history"]["hypervolume"].is_monotonic_increasing
    assert set(names["importance"]["name"]) == {"keep1", "keep2_share", "ratio"}
    assert "hypervolume" in out.getvalue()
