import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.config import ExperimentConfig
from search.config_keys import known_keys
from search.experiment import load_experiment, validate
from search.search_config import SearchConfig
from spvit.errors import ConfigError
from trainers.training_config import TrainingConfig

MINIMAL = '[study]\nname = "s"\n[model]\nname = "deit_small_patch16_224"\n[data]\npath = "images"\n'
DEMO = Path(__file__).parents[2] / "experiments" / "demo.toml"


@pytest.fixture
def write(tmp_path):
    def _write(text):
        path = tmp_path / "x.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def test_a_minimal_file_is_enough(write):
    assert load_experiment(write(MINIMAL)).model.name == "deit_small_patch16_224"


def test_an_empty_path_takes_a_files_own_away(write):
    path = write('[model]\nname = "m"\ncheckpoint = "weights.pth"\n[study]\nname = "s"\n[data]\npath = "d"\n')
    assert load_experiment(path).model.checkpoint is not None
    assert load_experiment(path, ["model.checkpoint="]).model.checkpoint is None


def test_paths_are_relative_to_the_file_but_the_study_directory_is_not(write, tmp_path):
    more = '[latency]\ntable = "t.json"\n'
    text = MINIMAL.replace("[data]", 'checkpoint = "w.safetensors"\n[data]') + more
    experiment = load_experiment(write(text))
    assert experiment.model.checkpoint == tmp_path / "w.safetensors"
    assert experiment.data.path == tmp_path / "images"
    assert experiment.latency.table == tmp_path / "t.json"
    assert experiment.study.directory == Path("runs")


def test_what_a_study_keeps_reads_back_as_the_same_experiment():
    experiment = load_experiment(DEMO)
    assert validate(experiment.model_dump(mode="json"), "study") == experiment


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("training.epoch=3", r"unknown key `training\.epoch`; did you mean `training\.epochs`\?"),
        ("epochs=3", r"did you mean `training\.epochs`\?"),
        ("latency.foo=3", r"unknown key `latency\.foo`; \[latency\] has `table`, `batch_size`, .*`on_drift`"),
        (
            "search.space.stage_keep_rates={lo=0.3,high=1}",
            r"unknown key .*stage_keep_rates\.lo`; a range has `low`, `high`",
        ),
        ("search.space.xyzzy=3", r"unknown key `search\.space\.xyzzy`; \[search\.space\] has `base_keep_rate`"),
        ("training.epochs=0", r"`training\.epochs`: 1 or more was required, but got 0\."),
        ("training.epochs=many", r"`training\.epochs`: a whole number was required, but got 'many'\."),
        ("training.lr=nan", "a finite number was required, but got nan"),
        ("training.min_lr=1", r"`training`: min_lr \(1\.0\) must not exceed lr"),
        ("data.format=csv", "'npz', 'folder', 'timm' or 'torchvision' was required, but got 'csv'"),
        ("study.name=../x", r"`study\.name`: a study's name is a folder's name"),
        ("training=4", "`training`: a table was required, but got 4"),
        ("pruning.base_keep_rate=1.2", "keep rate must lie in"),
        ("pruning.base_keep_rate=1e300", "out of every range"),
        ("latency.max_latency_ms=3", "max_latency_ms or max_latency_share, not both"),
        ("model.args.x=[1]", "a number, text, true or false was required"),
        ("search.space.losses.ratio=3", r"`search\.space\.losses\.ratio`: a range"),
        ("search.space.losses.ratio={low=1,hih=2}", r"missing key `search\.space\.losses\.ratio\.high`"),
        ("search.space.losses.ratio={low=1,hih=2}", "a range has `low`, `high`"),
        ("search.space.losses.ratio={low=3,high=2}", "low must be below high, but got 3.0 and 2.0"),
        ('search.space.losses.ratio={type="float",low=1,high=2}', "'int' was required, but got 'float'"),
        ("search.space.losses.ratios={low=1,high=2}", "unknown key 'ratios'"),
        (
            "pruning.blocks=[2, 1]",
            r"`pruning\.blocks`: different blocks from 0 on were required, lowest first, but got",
        ),
        ("study.name.x=1", "`study.name` is a value, not a table"),
        ("training.epochs", "`key=value` was required"),
        (".=1", "`key=value` was required"),
        ("training.epoch=", r"no key `training\.epoch` that could be taken away; did you mean `training\.epochs`\?"),
        ("study.name=", r"missing key `study\.name`"),
        ("study.name.x=", r"no key `study\.name\.x` that could be taken away"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_required(override, text):
    with pytest.raises(ConfigError, match=text):
        load_experiment(DEMO, [override])


def test_everything_wrong_is_told_at_once_without_pydantic_speaking(write):
    text = '[study]\nname = "s"\nnmae = 1\n[model]\n[data]\npath = 3\n[training]\nepochs = "x"\n'
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(text))
    message = str(caught.value)
    for key in ("study.nmae", "model.name", "data.path", "training.epochs"):
        assert f"`{key}`" in message
    assert "x.toml: 4 problems" in message
    assert "pydantic" not in message.lower()


def test_the_report_never_exceeds_ten_lines(write):
    text = MINIMAL + "[losses]\n" + "".join(f"z{i} = 1\n" for i in range(50))
    with pytest.raises(ConfigError, match="50 problems") as caught:
        load_experiment(write(text))
    assert len(str(caught.value).splitlines()) <= 10


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"runtime": "onnxruntime", "dtype": "bfloat16"}, 'runs in dtype = "float32" only .* got dtype = "bfloat16"'),
        ({"runtime": "onnxruntime", "device": "cuda"}, 'on device = "cpu" only, but got device = "cuda"'),
        ({"runtime": "cuda_graph"}, 'needs a GPU, device = "cuda", but got device = "cpu"'),
        ({"runtime": "tensorrt"}, "'eager', 'compiled', 'onnxruntime' or 'cuda_graph' was required"),
        ({"precision_percent": 0}, "precision_percent"),
        ({"time_limit_s": -1}, "time_limit_s"),
    ],
)
def test_what_cannot_be_measured_is_refused(keys, text):
    with pytest.raises(ConfigError, match=text):
        load_experiment(DEMO, [f"latency.{key}={value}" for key, value in keys.items()])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[study\n", r"not valid TOML: .*line 1, column 7"),
        ("a = 1\na = 2\n", "not valid TOML: .*line 2"),
        (b"a = 'ok'\nb = '\xff'\n", "line 2 is not UTF-8 .byte 0xff"),
        ("a = " + "9" * 5000, "not usable TOML"),
        ("a = " + "[" * 5000, "not usable TOML|not valid TOML"),
        ("#" * (1 << 21), "at most 1048576 bytes"),
    ],
)
def test_an_unreadable_file_says_where(write, content, text):
    with pytest.raises(ConfigError, match=text):
        load_experiment(write(content))


def test_a_missing_file_names_its_neighbours(write, tmp_path):
    write(MINIMAL)
    with pytest.raises(ConfigError, match=r"no such experiment file.*x\.toml"):
        load_experiment(tmp_path / "y.toml")
    with pytest.raises(ConfigError, match="this is a directory"):
        load_experiment(tmp_path)


@pytest.mark.parametrize(
    ("override", "value"),
    [("training.epochs=7", 7), ("training.epochs = 7 ", 7), ("training.epochs='7'", 7)],
)
def test_an_override_replaces_the_files_value(override, value):
    assert load_experiment(DEMO, [override]).training.epochs == value


def test_an_override_that_is_no_toml_is_text_and_never_a_second_key():
    assert load_experiment(DEMO, ["study.name=second"]).study.name == "second"
    with pytest.raises(ConfigError, match=r"`training\.epochs`"):
        load_experiment(DEMO, ["training.epochs=1\nx = 2"])


def test_an_override_wins_over_an_earlier_one():
    assert load_experiment(DEMO, ["study.seed=1", "study.seed=2"]).study.seed == 2


def test_an_override_without_a_value_takes_a_key_away():
    changes = ["latency.max_latency_share=", "latency.max_latency_ms=12", "training.epochs=", "search.space="]
    experiment = load_experiment(DEMO, changes)
    assert (experiment.latency.max_latency_share, experiment.latency.max_latency_ms) == (None, 12.0)
    assert experiment.training.epochs == TrainingConfig().epochs != load_experiment(DEMO).training.epochs
    assert experiment.search.space == SearchConfig().space


def test_a_key_that_is_absent_already_may_be_taken_away():
    known = ["latency.table=", "losses.latency=", "start.path="]
    of_free_tables = ["model.args.drop_rate=", "search.space.losses.latency=", "search.space.losses.latency.when="]
    assert load_experiment(DEMO, [*known, *of_free_tables]) == load_experiment(DEMO)


def test_a_file_may_name_nothing_where_it_could_name_a_path(write):
    assert load_experiment(write(f'{MINIMAL}[start]\npath = ""\n')).start.path is None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda t: t.encode("utf-8", "replace"))))
def test_any_content_is_an_experiment_or_a_config_error(write, content):
    with pytest.raises(ConfigError):
        load_experiment(write(content))


SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just(10**400),
    st.lists(st.integers(), max_size=3),
)
VALUES = st.recursive(SCALARS, lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5)
KEYS = st.sampled_from([key.name for key in known_keys()]) | st.text(max_size=8).filter(lambda text: text != "IntRange")


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_values_are_an_experiment_or_a_config_error(changes):
    values = tomllib.loads(MINIMAL)
    for key, value in changes.items():
        table = values
        *path, leaf = key.split(".")
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                break
        else:
            table[leaf] = value
    try:
        result = validate(values, "x")
    except ConfigError as error:
        result = str(error)
    assert isinstance(result, ExperimentConfig) or ("x: " in result and "IntRange" not in result)
