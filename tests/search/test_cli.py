import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from search.cli import COMMANDS, cli, run
from spvit.errors import ExitCode

DEMO = str(Path(__file__).parents[2] / "experiments" / "demo.toml")
HEAVY = ("torch", "ray", "mlflow", "optuna", "pandas", "timm", "matplotlib")
EXPERIMENT_OPTIONS = {"--set", "--runs-dir", "--json"}
STUDY_OPTIONS = {"--runs-dir", "--json", "--storage"}
EXPORT_OPTIONS = {"--format", "--no-register"}
OPENING_OPTIONS = {"--accept-change", "--takeover"}
SURFACE = {
    "run": EXPERIMENT_OPTIONS | OPENING_OPTIONS | EXPORT_OPTIONS | {"EXPERIMENT", "--address", "--insecure-cluster"},
    "profile": EXPERIMENT_OPTIONS | {"EXPERIMENT"},
    "table": set(),
    "plan": EXPERIMENT_OPTIONS
    | {"EXPERIMENT", "--address", "--insecure-cluster", "--profile", "--no-profile", "--curves"},
    "launch": EXPERIMENT_OPTIONS
    | OPENING_OPTIONS
    | {"EXPERIMENT", "--address", "--insecure-cluster", "--profile", "--no-profile"},
    "submit": EXPERIMENT_OPTIONS
    | OPENING_OPTIONS
    | {"EXPERIMENT", "--address", "--insecure-cluster", "--include", "--wait", "--no-wait"},
    "resume": STUDY_OPTIONS | OPENING_OPTIONS | {"STUDY", "--address", "--insecure-cluster"},
    "extend": STUDY_OPTIONS | OPENING_OPTIONS | {"STUDY", "--address", "--insecure-cluster", "--trials", "--epochs"},
    "verify": STUDY_OPTIONS | {"STUDY", "--same-front-as"},
    "status": STUDY_OPTIONS | {"STUDY", "--csv"},
    "pareto": STUDY_OPTIONS | {"STUDY", "--max-latency-ms", "--min-top1", "--knee", "--evaluate", "--csv"},
    "show": STUDY_OPTIONS | {"STUDY", "TRIAL", "--config", "--csv"},
    "compare": STUDY_OPTIONS | {"STUDY", "FIRST", "SECOND", "--evaluate", "--csv"},
    "report": STUDY_OPTIONS | {"STUDY", "--output"},
    "trials": STUDY_OPTIONS | {"STUDY", "--csv"},
    "clean": STUDY_OPTIONS | {"STUDY", "--dry-run", "--keep"},
    "record": STUDY_OPTIONS | {"STUDY", "--output"},
    "simulate": {
        "--on",
        "--sampler",
        "--pruner",
        "--seeds",
        "--trials",
        "--workers",
        "--max-latency-ms",
        "--max-latency-share",
        "--json",
    },
    "retarget": STUDY_OPTIONS
    | {"STUDY", "--table", "--max-latency-ms", "--max-latency-share", "--suggest", "--output"},
    "finish": STUDY_OPTIONS
    | OPENING_OPTIONS
    | {"STUDY", "--epochs", "--trial", "--max-latency-ms", "--top", "--evaluate", "--address", "--insecure-cluster"},
    "export": STUDY_OPTIONS
    | EXPORT_OPTIONS
    | {
        "STUDY",
        "--trial",
        "--max-latency-ms",
        "--max-latency-share",
        "--evaluate",
        "--schedules",
        "--output",
        "--force",
    },
    "check": {"FOLDER", "--data", "--max-latency-ms", "--time-limit-s", "--json"},
    "dashboard": STUDY_OPTIONS | {"STUDY", "--trial", "--optuna", "--port", "--listen", "--no-browser"},
    "fine-tune": EXPERIMENT_OPTIONS | {"EXPERIMENT"},
    "progressive": EXPERIMENT_OPTIONS | {"EXPERIMENT", "--profile", "--no-profile"},
    "backbones": {"--json"},
    "evaluate": EXPERIMENT_OPTIONS
    | {"EXPERIMENT_OR_EXPORT", "--form", "--serving", "--bucket", "--calibration-images"},
}


def _command(name):
    return cli.get_command(click.Context(cli), name)


def _surface(name):
    names = set()
    for parameter in _command(name).params:
        if isinstance(parameter, click.Argument):
            names.add(parameter.name.upper())
        else:
            names.update([*parameter.opts, *parameter.secondary_opts])
    return names


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPVIT_RUNS_DIR", str(tmp_path / "runs"))


def test_the_commands_are_these():
    assert set(COMMANDS) == set(SURFACE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_a_command_are_these(name):
    assert _surface(name) == SURFACE[name]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"plan"}))  # which only says what `launch` would
def test_what_refuses_a_changed_study_can_be_told_to_go_on(name):
    text = _command(name).epilog or ""
    refuses = f"  {int(ExitCode.STUDY_MISMATCH)} study was made from another experiment" in text
    assert refuses == (_surface(name) >= OPENING_OPTIONS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_gives_purpose_example_and_exit_codes(name, capsys):
    assert run([name, "--help"]) == ExitCode.OK
    text = capsys.readouterr().out
    assert f"spvit-search {name} " in text
    assert "Example:" in text
    assert "Exit codes:" in text
    assert "0 ok" in text


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nope"], 2, "No such command 'nope'"),
        (["status"], 2, "Missing argument 'STUDY'"),
        (["status", "../x"], 2, "a study's name has letters"),
        (["status", "nope"], 2, "no study 'nope' in .*there is no study there yet"),
        (["pareto", "nope", "--max-latency-ms", "0"], 2, "0.0 is not in the range"),
        (["export", "nope", "--trial", "1", "--max-latency-ms", "3"], 2, "--trial and --max-latency-ms"),
        (["export", "nope", "--trial", "1", "--evaluate"], 2, "there is no choice with --trial"),
        (["finish", "nope", "--trial", "1", "--evaluate", "--epochs", "9"], 2, "there is no choice with --trial"),
        (["dashboard"], 2, "Nothing was tracked"),
        (["dashboard", "--optuna"], 2, "--optuna needs a study"),
        (["pareto", "nope", "--knee", "--min-top1", "3"], 2, "--min-top1 and --knee were both given"),
        (["pareto", "nope", "--evaluate"], 2, "--evaluate compares what may be chosen"),
        (["launch", "nofile.toml"], 3, "no such experiment file"),
        (["launch", DEMO, "--address", "head"], 2, "HOST:PORT, ray://HOST:PORT, auto or local was required"),
        (["launch", DEMO, "--address", "http://head:8265"], 2, "spvit-search submit EXPERIMENT --address"),
        (["submit", DEMO, "--address", "head:6379"], 2, "http://HOST:PORT of the cluster's dashboard was required"),
        (["submit", DEMO, "--address", "http://me:pw@head:8265"], 2, "http://HOST:PORT of the cluster's dashboard"),
        (["submit", DEMO, "--address", "http://127.0.0.1:1", "--runs-dir", "runs"], 2, "an absolute --runs-dir"),
        (["dashboard", "--listen", "203.0.113.9"], 2, "Nothing was tracked"),
        (["launch", DEMO, "--set", "training.epoch=3"], 3, "did you mean `training.epochs`"),
        (["launch", DEMO, "--no-profile"], 4, "No latency table"),
        (["evaluate", "nofile.toml"], 3, "no such experiment file"),
        (["fine-tune", DEMO, "--set", "x"], 3, "`key=value` was required"),
    ],
)
@pytest.mark.usefixtures("empty_folder")
def test_errors_end_with_their_code_as_text_and_as_json(arguments, code, text, capsys):
    assert run(arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) <= 10
    assert run([*arguments, "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == code
    with pytest.raises(ValueError, match=text):
        raise ValueError(error["message"])


def test_a_defect_names_a_log_with_the_traceback(monkeypatch, capsys):
    def broken():
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(_command("status"), "callback", lambda **_: broken())
    assert run(["status", "demo"]) == ExitCode.BUG
    told = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: broken" in told
    log = Path(told.split("the details are in ")[1].strip())
    assert "in broken" in log.read_text()
    log.unlink()


def test_neither_messages_nor_logs_tell_a_password(monkeypatch, capsys):
    def broken(**_):
        raise OSError("postgresql://me:c4n4ry@host/db: password=c4n4ry was refused")

    monkeypatch.setattr(_command("status"), "callback", broken)
    assert run(["status", "demo"]) == ExitCode.BUG
    told = capsys.readouterr().err
    log = Path(told.split("the details are in ")[1].strip())
    assert "c4n4ry" not in told + log.read_text()
    assert "postgresql://***@host/db" in told
    log.unlink()


def test_a_defect_on_a_full_disk_is_told_without_a_traceback(monkeypatch, capsys):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_command("status"), "callback", full)
    monkeypatch.setattr("search.cli.tempfile.NamedTemporaryFile", lambda *_, **options: full(**options))
    assert run(["status", "demo"]) == ExitCode.BUG
    told = capsys.readouterr().err
    assert "the details could not be kept ([Errno 28] No space left on device)" in told
    assert len(told.splitlines()) == 1


def test_a_keyboard_interrupt_is_a_stop_that_can_be_resumed(monkeypatch, capsys):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_command("status"), "callback", interrupted)
    assert run(["status", "demo"]) == ExitCode.STOPPED
    assert "stopped on request" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["launch", "nofile.toml"], ["launch", DEMO, "--set", "training.epoch=3"]]
)
def test_help_and_config_errors_import_nothing_heavy(arguments):
    code = (
        "import sys; from search.cli import run; run(sys.argv[1:]); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_module_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "search.cli", "status", "../x"], capture_output=True, text=True, check=False
    )
    assert done.returncode == ExitCode.USAGE
