"""`spvit-search retarget` on a finished study: what it prints, what it writes, and every bad input."""

import csv
import hashlib
import json
from dataclasses import replace

import elastic_study
import finished_study
import pytest
from small_table import row, small_table

from latency_tables.key import Runtime, SelectorOptions
from search.budget import price_from
from search.cli import run
from search.experiment import load_experiment
from search.lock import study_lock
from search.records import Origin
from search.space import SearchSpace
from search.starts import enqueued_starts
from search.study import read_study
from spvit.errors import ExitCode
from spvit.factory import create_backbone
from spvit.options import HeadWeighting, SelectorKind
from trainers.config import ModelConfig, TrialConfig


@pytest.fixture(scope="module", autouse=True)
def fewer_candidates():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.sampler.NUM_CANDIDATES", 30)
        patch.setattr("search.known_latency.NUM_CHILDREN", 1)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one study, `small`."""
    runs = tmp_path_factory.mktemp("runs")
    finished_study.make_study(finished_study.experiment(runs), finished_study.table(), num_trials=7)
    return runs


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Files by name: the study's own device, and others."""
    folder, own = tmp_path_factory.mktemp("tables"), finished_study.table()
    compiled = replace(own.key, runtime=Runtime.COMPILED, batch_size=1, device_id="other-1")
    made = {
        "own": own,
        "slow": finished_study.scaled(own, 2.0),
        "flat": replace(own, blocks={2: row(1.0), 10: row(1.1), 17: row(1.4)}, dense=row(4.6), key=compiled),
        "stairs": replace(
            own,
            blocks={2: row(1.0), 9: row(1.005), 10: row(1.7), 17: row(1.705)},
            selections={n: row(0.02 * n) for n in (3, 10, 17)},
        ),
        "two_kinds": replace(own, other_selections={SelectorKind.LIGHT: {n: row(0.001) for n in (3, 10, 17)}}),
        "light": replace(own, selector=SelectorOptions(kind=SelectorKind.LIGHT)),
        "attention": replace(own, selector=SelectorOptions(head_weighting=HeadWeighting.MEAN)),
        "other_name": replace(own, key=replace(own.key, backbone="deit_tiny_patch16_224")),
        "deeper": _deeper(),
    }
    for name, table in made.items():
        table.save(folder / f"{name}.json")
    (folder / "damaged.json").write_text("{")
    return {path.stem: path for path in folder.glob("*.json")}


def _deeper():
    args = finished_study.ARGS | {"depth": 4}
    return small_table(create_backbone(finished_study.NAME, args=args), finished_study.NAME)


def call(capsys, runs, *arguments, code=ExitCode.OK, study="small"):
    assert run(["retarget", study, "--runs-dir", str(runs), *map(str, arguments)]) == code
    return capsys.readouterr()


def document(capsys, runs, *arguments, **expected):
    return json.loads(call(capsys, runs, *arguments, "--json", **expected).out)


def contents(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_on_the_studys_own_device_nothing_changes(runs, tables, capsys):
    (device,) = document(capsys, runs, "--table", tables["own"], "--suggest", 0)["devices"]
    assert {trial["place"] for trial in device["trials"]} <= {"stays", "off"}
    assert all(trial["old"] == trial["new"] for trial in device["trials"])
    assert device["dense"]["old"] == device["dense"]["new"]
    assert device["recommended"] == device["recommended_before"]
    assert device["hypervolume"]["old"] == device["hypervolume"]["new"]
    assert run(["pareto", "small", "--runs-dir", str(runs), "--json"]) == ExitCode.OK
    assert device["front"] == [trial["number"] for trial in json.loads(capsys.readouterr().out)["front"]]


def test_a_running_study_can_be_read_and_is_never_written(runs, tables, capsys):
    study = runs / "small"
    with study_lock(study):
        before = contents(study)
        text = call(capsys, runs, "--table", tables["slow"]).out
        assert contents(study) == before
    assert "7 trained to the end; 1 stopped early and not used" in text
    assert "recommended  trial" in text
    assert "spvit-search export small --trial" in text


def test_further_trials_are_told_with_what_they_are_expected_to_bring(runs, tables, capsys):
    (device,) = document(capsys, runs, "--table", tables["slow"], "--suggest", 2)["devices"]
    assert len(device["further"]) == 2
    for trial in device["further"]:
        assert trial["latency"]["high_ms"] <= device["max_latency_ms"]
        assert trial["low_top1"] < trial["top1"] < trial["high_top1"]
        assert trial["gain"] > 0
        assert {"keep1", "keep2_share", "ratio"} == trial["params"].keys()
        assert len(trial["block_tokens"]) == 3


def test_further_trials_are_at_the_right_edge_of_what_the_table_finds_level(runs, tables, capsys):
    (device,) = document(capsys, runs, "--table", tables["stairs"])["devices"]
    assert device["further"]
    assert all(set(trial["block_tokens"]) <= {9, 17} for trial in device["further"])


def test_several_devices_stand_side_by_side(runs, tables, capsys):
    arguments = ("--table", tables["own"], "--table", tables["flat"], "--max-latency-share", 0.97, "--suggest", 0)
    text = call(capsys, runs, *arguments).out
    assert "A ms" in text
    assert "B ms" in text
    assert "other-1, batch 1, float32, compiled, 1 thread" in text
    found = document(capsys, runs, *arguments)
    best = found["best_on_every_device"]
    assert f"everywhere   trial {best}" in text
    for device in found["devices"]:
        assert next(t for t in device["trials"] if t["number"] == best)["new"]["high_ms"] <= device["max_latency_ms"]
        within = [t["top1"] for t in device["trials"] if t["new"]["high_ms"] <= device["max_latency_ms"]]
        assert next(t for t in device["trials"] if t["number"] == device["recommended"])["top1"] == max(within)


def test_output_holds_a_report_and_experiments_that_are_valid(runs, tables, tmp_path, capsys):
    folder = tmp_path / "out"
    found = document(capsys, runs, "--table", tables["slow"], "--output", folder, "--suggest", 2)
    assert sorted(map(str, folder.iterdir())) == sorted(found["files"])
    assert {"pareto.png", "pareto.html", "trials.csv", "retarget.csv", "further_1.toml"} <= {
        path.name for path in folder.iterdir()
    }
    (device,) = found["devices"]
    with (folder / "retarget.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(r["number"]) for r in rows] == [t["number"] for t in device["trials"]]
    assert [float(r["latency_ms"]) for r in rows] == [t["new"]["mean_ms"] for t in device["trials"]]
    assert found["commands"] == [f"spvit-search fine-tune {folder}/further_{n}.toml" for n in (1, 2)]
    experiments = [load_experiment(folder / f"further_{n}.toml") for n in (1, 2)]
    assert [list(e.pruning.stage_keep_rates) for e in experiments] == [t["keep_rates"] for t in device["further"]]
    assert [e.losses.ratio for e in experiments] == [t["params"]["ratio"] for t in device["further"]]
    there = load_experiment(folder / "experiment.toml")
    assert (there.latency.table, there.latency.max_latency_ms) == (tables["slow"], device["max_latency_ms"])
    assert there.study.name not in {"small", *(e.study.name for e in experiments)}


def test_several_devices_are_written_beside_each_other(runs, tables, tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = ("--table", tables["own"], "--table", tables["slow"], "--suggest", 0, "--output", folder)
    call(capsys, runs, *arguments)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
    assert (folder / "a" / "pareto.html").is_file()
    assert (folder / "b" / "retarget.csv").is_file()


def test_other_kinds_of_selectors_in_a_table_do_no_harm(runs, tables, capsys):
    plain, more = (
        document(capsys, runs, "--table", tables[name], "--suggest", 0)["devices"][0] for name in ("own", "two_kinds")
    )
    assert more["trials"] == plain["trials"]


def test_nothing_within_the_budget_names_the_fastest_and_still_tells_the_rest(runs, tables, capsys):
    arguments = ("--table", tables["slow"], "--max-latency-ms", 2.0)
    told = call(capsys, runs, *arguments, code=ExitCode.NOTHING_FEASIBLE)
    assert "no finished trial is within the budget" in told.out
    found = document(capsys, runs, *arguments, code=ExitCode.NOTHING_FEASIBLE)
    fastest = min(found["devices"][0]["trials"], key=lambda trial: trial["new"]["high_ms"])
    named = f"the fastest is trial {fastest['number']}, {fastest['top1']:.2f} % at {fastest['new']['mean_ms']:.3f} ms"
    assert named in told.err
    assert named in found["error"]["message"]
    assert found["error"]["exit_code"] == ExitCode.NOTHING_FEASIBLE
    assert found["devices"][0]["recommended"] is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere", "nowhere.json"),
        ("damaged", "damaged.json"),
        (
            "other_name",
            r"other_name\.json does not fit study 'small'.*backbone is 'deit_tiny_patch16_224' in the table",
        ),
        ("deeper", r"deeper\.json does not fit study 'small'.*shape.depth is 4 in the table"),
        ("light", r"light\.json does not fit study 'small'.*light selectors cost, but not multi_head"),
        ("attention", r"attention\.json does not fit study 'small'.*head_weighting"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(runs, tables, capsys, name, text):
    path = tables["own"].with_name(f"{name}.json")
    told = call(capsys, runs, "--table", tables["own"], "--table", path, code=ExitCode.LATENCY_TABLE)
    assert told.out == ""
    with pytest.raises(ValueError, match=text):
        raise ValueError(told.err)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--max-latency-ms", "3", "--max-latency-share", "0.5"], "--max-latency-ms and --max-latency-share"),
        (["--max-latency-share", "1.5"], "1.5 is not in the range"),
        (["--max-latency-share", "nan"], "nan is not a finite number"),
        (["--max-latency-ms", "nan"], "nan is not a finite number"),
        (["--max-latency-ms", "inf"], "inf is not a finite number"),
        (["--suggest", "-1"], "-1 is not in the range"),
        (["--output", "."], "is no empty folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(runs, tables, capsys, arguments, text):
    assert text in call(capsys, runs, "--table", tables["own"], *arguments, code=ExitCode.USAGE).err


def test_tables_are_required(runs, capsys):
    assert "Missing option '--table'" in call(capsys, runs, code=ExitCode.USAGE).err


def test_an_unknown_study_is_told_with_those_that_there_are(runs, tables, capsys):
    told = call(capsys, runs, "--table", tables["own"], code=ExitCode.USAGE, study="nope")
    assert "studies there: " in told.err
    assert "small" in told.err


def test_a_study_without_complete_trials_has_nothing_to_take(tables, tmp_path, capsys):
    values = {"pruning": {"blocks": [1, 2]}}
    config = finished_study.experiment(tmp_path, **values)
    finished_study.make_study(config, finished_study.table(), num_trials=1, num_pruned=1)
    told = call(capsys, tmp_path, "--table", tables["own"], code=ExitCode.NOTHING_FEASIBLE)
    assert "no trial that was trained to the end" in told.err
    assert told.out == ""


def test_an_output_that_cannot_be_written_is_a_storage_error(runs, tables, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    told = call(
        capsys, runs, "--table", tables["own"], "--suggest", 0, "--output", tmp_path / "file" / "x",
        code=ExitCode.STORAGE,
    )  # fmt: skip
    assert "cannot be written" in told.err


def elastic_table():
    """A device's table for the model of `elastic_runs`."""
    args = finished_study.ARGS | {"img_size": 28, "depth": 6}
    costs = {share: {n: row(share * n) for n in (2, 25, 50)} for share in (0.1, 0.01)}
    backbone = create_backbone(finished_study.NAME, args=args)
    return args, small_table(backbone, finished_study.NAME, blocks=costs[0.1], selections=costs[0.01], dense=row(30.5))


@pytest.fixture(params=[False, True], ids=["in its folder", "published"])
def elastic_runs(tmp_path, request):
    """A folder with one study, `toy`, whose schedules were trained from elastic weights, and the table `there.json`."""
    args, table = elastic_table()
    table.save(tmp_path / "there.json")
    config = elastic_study.experiment(tmp_path / "runs")
    study = config.study.model_copy(update={"checkpoints": str(tmp_path / "published") if request.param else None})
    model = ModelConfig(name=finished_study.NAME, args=args)
    elastic_study.run(config.model_copy(update={"model": model, "study": study})).finish()
    return tmp_path / "runs"


def test_further_trials_and_a_search_from_elastic_weights_name_these(elastic_runs, tmp_path, capsys):
    output = ("--output", tmp_path / "out")
    found = document(capsys, elastic_runs, "--table", tmp_path / "there.json", *output, study="toy")
    (device,) = found["devices"]
    assert device["further"]
    assert device["further"][0]["params"].keys() == {"keep1", "keep2_share", "keep3_share", "ratio"}
    assert device["lost_weights"] == ""
    contender = next(t for t in read_study(elastic_runs / "toy").trials if t.origin is Origin.CONTENDER)
    told = TrialConfig.model_validate(contender.config)
    assert told.start is not None
    assert found["commands"][-1] == f"spvit-search launch {tmp_path / 'out' / 'from_elastic.toml'}"
    assert len(found["commands"]) == len(device["further"]) + 1
    for number, further in enumerate(device["further"], start=1):
        trial = load_experiment(tmp_path / "out" / f"further_{number}.toml").fixed_trial(6)
        assert (trial.start, trial.training) == (told.start, told.training)
        assert list(trial.pruning.schedule.keep_rates) == pytest.approx(further["keep_rates"])
    search = load_experiment(tmp_path / "out" / "from_elastic.toml")
    _, table = elastic_table()
    space = SearchSpace(search, table.geometry)
    assert (space.default.start, space.default.training) == (told.start, told.training)
    assert set(space.names) == {"keep1", "keep2_share", "keep3_share", "ratio"}
    assert not search.has_elastic_trials
    assert search.latency.table == tmp_path / "there.json"
    assert search.study.checkpoints is None
    starts = enqueued_starts(search.search.enqueue, space)
    assert len(starts) > elastic_study.NUM_BANDS
    assert all("best by elastic weights up to" in start.label for start in starts)
    price = price_from(table)
    networks = [space.network_of(space.trial_config(start.params)) for start in starts]
    assert all(price(network).high_ms <= device["max_latency_ms"] for network in networks)
    assert len({network.block_tokens for network in networks}) == len(networks)
    assert search.search.warm_starts == ()


def test_elastic_weights_are_named_where_the_study_is_now_and_missed_where_they_are_gone(
    elastic_runs, tmp_path, capsys
):
    runs = elastic_runs.rename(tmp_path / "moved")
    call(capsys, runs, "--table", tmp_path / "there.json", "--output", tmp_path / "out", study="toy")
    path = load_experiment(tmp_path / "out" / "from_elastic.toml").start.path
    assert path.is_relative_to(runs)
    path.unlink()
    told = call(capsys, runs, "--table", tmp_path / "there.json", "--output", tmp_path / "again", study="toy")
    assert "elastic weights that further trials go on from, is not there: bring it" in told.err


def test_a_study_that_went_on_from_given_weights_has_no_elastic_ones_to_search_from(tables, tmp_path, capsys):
    (tmp_path / "weights").write_bytes(b"weights")
    config = finished_study.experiment(tmp_path, start={"path": str(tmp_path / "weights")})
    finished_study.make_study(config, finished_study.table(), num_trials=7)
    output = ("--output", tmp_path / "out")
    found = document(capsys, tmp_path, "--table", tables["flat"], "--max-latency-share", 0.95, *output)
    assert not (tmp_path / "out" / "from_elastic.toml").exists()
    assert found["devices"][0]["further"]
    assert load_experiment(tmp_path / "out" / "further_1.toml").start.path == tmp_path / "weights"
