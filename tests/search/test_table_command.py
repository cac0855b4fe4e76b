import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from small_table import row, small_table

from latency_tables.compare import compare_tables
from latency_tables.table import LatencyTable
from search.cli import run
from search.commands.table import command
from search.experiment import load_experiment
from search.profiling import study_table
from search.study_files import STUDY_FILE
from search.table_files import TABLE_FILE
from spvit.errors import ExitCode, LatencyTableError
from spvit.factory import create_backbone

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 16, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 4}
EXPERIMENT = f"""
[study]
name = "mine"
[model]
name = "{NAME}"
[model.args]
{chr(10).join(f"{key} = {value}" for key, value in ARGS.items())}
[data]
format = "npz"
path = "data"
[latency]
batch_size = 4
"""
RATIOS = "keep_ratio,block_ms\n1.0,1.7\n0.5,0.9\n"
SUBCOMMANDS = {
    "list": {"--json"},
    "show": {"TABLE", "--json"},
    "check": {"TABLE", "EXPERIMENT", "--set", "--measure", "--json"},
    "compare": {"A", "B", "--json"},
    "import": {
        "FILE", "EXPERIMENT", "--device", "--dense-ms", "--output", "--force", "--set", "--runs-dir", "--json",
    },
}  # fmt: skip


@pytest.fixture
def table() -> LatencyTable:
    return small_table(create_backbone(NAME, args=ARGS), NAME)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, table):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPVIT_RUNS_DIR", str(tmp_path / "runs"))
    table.save(tmp_path / "table.json")
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    (tmp_path / "board.csv").write_text(RATIOS)
    (tmp_path / "tiny.csv").write_text("keep_ratio,block_ms\n1.0,1e-320\n0.5,1e-321\n")
    return tmp_path


@pytest.fixture
def call(capsys):
    """Runs `table ...`; gives what it printed as JSON, with the text for a reader."""

    def called(*arguments):
        assert run(["table", *map(str, arguments)]) == ExitCode.OK
        text = capsys.readouterr().out
        assert run(["table", *map(str, arguments), "--json"]) == ExitCode.OK
        return json.loads(capsys.readouterr().out), text

    return called


def _surface(name):
    names = set()
    for parameter in command.commands[name].params:
        is_argument = parameter.param_type_name == "argument"
        shown = [parameter.human_readable_name] if is_argument else [*parameter.opts, *parameter.secondary_opts]
        names.update(shown)
    return names


def test_the_subcommands_and_their_options_are_these():
    assert {name: _surface(name) for name in command.commands} == SUBCOMMANDS


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_gives_an_example_and_exit_codes(name):
    text = CliRunner().invoke(command, [name, "--help"]).output
    assert f"spvit-search table {name} " in text
    assert "Exit codes:" in text
    assert "4 latency table missing, stale or of another device" in text


def test_show_tells_everything_that_is_in_a_table(call, table):
    document, text = call("show", "table.json")
    assert document["sha256"] == table.sha256
    assert document["device"]["cpu_model"] == table.device.cpu_model
    assert document["key"]["batch_size"] == 4
    assert {"part": "block", "num_tokens": 10, "median_ms": 1.0, "low_ms": 0.98, "high_ms": 1.02, "num_samples": 9} in (
        document["rows"]
    )
    assert document["warnings"] == []
    for part in (table.device.id, f"{NAME}, batch 4, float32, eager, 1 thread(s)", "on 5 complete models", "1.7340"):
        assert part in text


def test_show_warns_of_what_it_should(call, table, folder):
    busy = replace(table, conditions=replace(table.conditions, reference_spread_percent=90.0))
    busy.rescaled(1.5).save(folder / "busy.json")
    document, text = call("show", "busy.json")
    assert [warning.partition(" ")[0] for warning in document["warnings"]] == ["All", "The"]
    assert "warning  All times were multiplied by 1.500" in text


def test_check_says_that_a_table_is_whole_and_may_price_an_experiment(call):
    assert call("check", "table.json")[1].splitlines() == ["table    table.json: whole"]
    document, text = call("check", "table.json", "mine.toml")
    assert document["experiment"] == "mine"
    assert "prices   mine: yes" in text


def test_check_measures_three_points_again(call):
    document, text = call("check", "table.json", "mine.toml", "--measure")
    assert 0.0 < document["drift"]["low"] <= document["drift"]["ratio"] <= document["drift"]["high"]
    assert "drift    " in text
    (warning,) = document["warnings"]  # the small table's times are made up
    assert warning.startswith("This device now takes")
    assert f"A search that begins now multiplies the table's times by {document['drift']['ratio']:.3f}" in warning
    assert "Until then" not in warning


def test_compare_of_a_table_with_itself_finds_nothing(call, table):
    document, text = call("compare", "table.json", "table.json")
    assert (document["median_ratio"], document["num_differing"], document["differences"]) == (1.0, 0, [])
    assert len(document["rows"]) == 3 + len(table.blocks) + len(table.selections)
    assert document["reference_ratio"] == 1.0
    assert "B takes 1.000 times as long as A (median of 9 rows), its reference block 1.000 times" in text
    assert "as multiples of the reference 0 rows differ beyond their intervals" in text


def test_compare_finds_the_rows_and_the_facts_that_differ(call, table, folder):
    device = replace(table.device, cpu_model="Another CPU")
    other = replace(table, device=device, blocks={**table.blocks, 17: row(1.03 * 1.7), 10: row(1.2)})
    other.save(folder / "other.json")
    document, text = call("compare", "table.json", "other.json")
    differing = {(found["part"], found["num_tokens"]) for found in document["rows"] if found["differs"]}
    assert differing == {("block", 10)}  # 3 % more lies within both intervals of 2 %
    assert [fact["name"] for fact in document["differences"]] == ["device.cpu_model"]
    assert f"differs  device.cpu_model: {table.device.cpu_model} | Another CPU" in text


def test_ratios_hold_all_that_both_intervals_allow_and_no_clock(table):
    """A machine that is slower throughout has the same rows: only its reference tells."""
    comparison = compare_tables(table, table.rescaled(2.0))
    assert comparison.median_ratio == pytest.approx(2.0) == comparison.reference_ratio
    assert comparison.num_differing == 0
    assert all((found.low, found.high) == pytest.approx((0.98 / 1.02, 1.02 / 0.98)) for found in comparison.rows)


def test_rows_that_kept_their_time_differ_where_the_reference_did_not(table):
    other = replace(table, reference=table.rescaled(2.0).reference)
    comparison = compare_tables(table, other)
    assert (comparison.median_ratio, comparison.reference_ratio) == pytest.approx((1.0, 2.0))
    assert comparison.num_differing == len(comparison.rows)


def test_tables_without_a_common_curve_are_not_compared(table):
    fewer = {n: row(0.1 * n) for n in (1, 18)}
    other = replace(table, blocks=fewer, selections=fewer)
    with pytest.raises(LatencyTableError, match="have no curve in common"):
        compare_tables(table, other)


def test_import_writes_a_table_that_prices_the_experiment_on_purpose(call, folder):
    document, text = call(
        "import", "board.csv", "mine.toml", "--device", "Board 7", "--output", "board.json", "--force"
    )
    assert LatencyTable.load(folder / "board.json").sha256
    assert document["device"].startswith("board-7-")
    assert 'search   with latency.target = "other_device"' in text
    shown = call("show", "board.json")
    assert shown[0]["conditions"] is None
    assert shown[0]["end_to_end"]["is_assumed"]
    assert "assumed, no complete model was measured" in shown[1]
    assert "imported from board.csv" in shown[1]
    checked, _ = call("check", "board.json", "mine.toml", "--set", "latency.target=other_device", "--measure")
    assert "whether they still hold there was not checked" in checked["warnings"][-1]
    assert "drift" not in checked


def test_import_writes_the_studys_own_table_where_no_output_is_named(call, folder):
    study = folder / "runs" / "mine"
    study.mkdir(parents=True)
    for name in ("latency_table.png", "latency_table.html"):
        (study / name).write_bytes(b"of the table before")
    call("import", "board.csv", "mine.toml", "--device", "Board 7", "--force")
    assert {path.name for path in study.iterdir()} == {f"latency_table.{end}" for end in ("json", "png", "html")}
    assert all(b"of the table before" not in path.read_bytes() for path in study.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nope"], 2, "No such command 'nope'"),
        (["show"], 2, "Missing argument 'TABLE'"),
        (["show", "nowhere.json"], 4, r"nowhere.json: there is no such file"),
        (["check", "mine.toml"], 2, "the TABLE comes first: table check TABLE mine.toml"),
        (["check", "board.csv"], 4, r"board.csv: it is not JSON"),
        (["check", "table.json", "nowhere.toml"], 3, "no such experiment file"),
        (["check", "table.json", "--measure"], 2, "--measure and --set need an EXPERIMENT"),
        (["check", "table.json", "mine.toml", "--set", "latency.batch_size=8"], 4, "batch_size is 4 in the table"),
        (
            ["check", "table.json", "mine.toml", "--measure", "--set", "latency.on_drift=refuse"],
            4, r'This device now takes .*latency.on_drift = "refuse"',
        ),
        (["compare", "table.json"], 2, "Missing argument 'B'"),
        (["compare", "table.json", "nowhere.json"], 4, "nowhere.json: there is no such file"),
        (["import", "board.csv", "mine.toml"], 2, "Missing option '--device'"),
        (["import", "board.csv", "mine.toml", "--device", " "], 2, "name of the device that was measured is required"),
        (["import", "board.csv", "mine.toml", "--device", "x", "--dense-ms", "0"], 2, "0.0 is not in the range"),
        (["import", "board.csv", "mine.toml", "--device", "x", "--dense-ms", "nan"], 2, "nan is not a finite number"),
        (["import", "board.csv", "mine.toml", "--device", "x", "--dense-ms", "inf"], 2, "inf is not a finite number"),
        (["import", "tiny.csv", "mine.toml", "--device", "x"], 4, r"tiny.csv: .*needs finite times above 0"),
        (["import", "mine.toml", "mine.toml", "--device", "x"], 4, r"mine.toml: .*docs/latency_import.md"),
        (["import", "nowhere.csv", "mine.toml", "--device", "x"], 4, "nowhere.csv: there is no such file"),
        (
            ["import", "board.csv", "mine.toml", "--device", "x", "--output", "table.json"],
            2, "table.json exists already; give --force",
        ),
        (["import", "board.csv", "mine.toml", "--device", "x", "--output", "mine.toml/x.json"], 8, "Cannot write"),
    ],
)  # fmt: skip
def test_what_cannot_be_ends_with_its_code(arguments, code, text, capsys):
    assert run(["table", *arguments, "--json"]) == code
    error = json.loads(capsys.readouterr().out.strip())["error"]
    with pytest.raises(ValueError, match=text):
        raise ValueError(error["message"])


def test_a_table_that_trials_were_priced_with_is_not_replaced(folder, capsys):
    (folder / "runs" / "mine").mkdir(parents=True)
    (folder / "runs" / "mine" / STUDY_FILE).write_text("{}")
    assert run(["table", "import", "board.csv", "mine.toml", "--device", "x", "--force"]) == ExitCode.USAGE
    assert "was priced with its latency table, so that cannot be replaced" in capsys.readouterr().err


def test_swapped_arguments_are_put_right(folder, capsys):
    assert run(["table", "check", "mine.toml", "table.json"]) == ExitCode.USAGE
    assert "the TABLE comes first: table check table.json mine.toml" in capsys.readouterr().err
    assert run(["table", "show", "mine.toml"]) == ExitCode.LATENCY_TABLE
    assert "it is an experiment file; a latency table (.json) was required" in capsys.readouterr().err


def test_a_missing_file_is_told_before_what_it_would_be_written_to(folder, capsys):
    (folder / "taken.json").write_text("{}")
    arguments = ["--device", "Board 7", "--output", "taken.json"]
    assert run(["table", "import", "missing.csv", "mine.toml", *arguments]) == ExitCode.LATENCY_TABLE
    assert "missing.csv: there is no such file" in capsys.readouterr().err
    assert run(["table", "import", "board.csv", "mine.toml", *arguments]) == ExitCode.USAGE
    assert "taken.json exists already" in capsys.readouterr().err


def test_the_help_tells_each_command_in_one_whole_sentence():
    listed = CliRunner().invoke(command, ["--help"], terminal_width=80).output
    assert "..." not in listed.partition("Commands:")[2]
    for subcommand in command.commands.values():
        assert subcommand.short_help in listed


def test_this_machines_own_table_is_not_taken_for_another_devices(folder, table):
    experiment = load_experiment(folder / "mine.toml", ["latency.target=other_device"])
    table.save(folder / "runs" / "mine" / TABLE_FILE)

    def price(table=None):
        latency = experiment.latency.model_copy(update={"table": table})
        given = experiment.model_copy(update={"latency": latency})
        return study_table(given, folder / "runs" / "mine", may_measure=False, progress=lambda *_: None)

    with pytest.raises(LatencyTableError, match=r"latency_table.json was measured on this machine\. Name the other"):
        price()
    assert price(folder / "table.json") == table  # named by the experiment itself: its author says what it is
    board = replace(table, device=replace(table.device, cpu_model="Board 7"))
    board.save(folder / "runs" / "mine" / TABLE_FILE)
    assert price() == board


def test_a_profile_that_no_search_would_use_or_fit_is_refused_before_it_is_measured(folder, capsys):
    assert run(["profile", "mine.toml", "--set", "latency.table=table.json"]) == ExitCode.USAGE
    assert "latency.table names" in capsys.readouterr().err
    assert run(["profile", "mine.toml", "--set", "pruning.blocks=[1, 7]"]) == ExitCode.CONFIG
    assert (
        "pruning.blocks: 0 to 2 were required for the 3 blocks of vit_tiny_patch16_224, but got 7"
        in capsys.readouterr().err
    )
    assert not (folder / "runs").exists()


def test_a_profile_that_could_not_be_written_is_not_measured(folder, capsys, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setattr("latency_tables.measure.measure_table", lambda *_, **__: pytest.fail("measured"))
    assert run(["profile", "mine.toml", "--runs-dir", "file/runs"]) == ExitCode.STORAGE
    assert "Cannot write the latency table" in capsys.readouterr().err


def test_a_table_that_a_profile_replaces_is_named(folder, capsys, monkeypatch, table):
    table.save(folder / "runs" / "mine" / TABLE_FILE)
    monkeypatch.setattr("search.profiling.measure_study_table", lambda *_, **__: table)
    assert run(["profile", "mine.toml"]) == ExitCode.OK
    assert f"measured anew: {folder / 'runs' / 'mine' / TABLE_FILE}" in capsys.readouterr().err
