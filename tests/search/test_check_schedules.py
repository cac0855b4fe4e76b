"""An export of several schedules checked anew: each schedule by itself, and changes of whatever it is made of."""

import json
import shutil

import pytest
from exported_study import as_elastic, failed, seal, trained_study, write_images
from finished_study import table

import spvit
from search.check_report import CheckState
from search.check_request import CheckRequest
from search.checking import check_export
from search.export_elastic import export_elastic
from search.stored_schedules import StoredSchedules
from spvit.errors import CheckpointError
from trainers.safe_folder import file_hash

NUM_SCHEDULES = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("schedules")
    study = as_elastic(trained_study(root), 0)
    export_elastic(study, root / "model", table=table(), num_schedules=3, time_limit_s=0.2)
    return root / "model"


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def check(folder, **options):
    return check_export(CheckRequest(folder=folder, time_limit_s=0.2, **options))


def rewrite(folder, name, change):
    """Changes a JSON file, and makes hashes and manifest fit, as somebody would who does not want to be found out."""
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    certificate = json.loads((folder / "certificate.json").read_text())
    certificate["file_sha256"] = {known: file_hash(folder / known) for known in certificate["file_sha256"]}
    (folder / "certificate.json").write_text(json.dumps(certificate))
    seal(folder)


def test_every_schedule_is_measured_again_line_by_line(folder):
    report = check(folder, max_latency_ms=1e6)
    names = [line.what for line in report.lines]
    for number in range(NUM_SCHEDULES):
        assert [f"schedule {number} {what}" for what in ("top-1", "speed-up", "latency")] == [
            name for name in names if name.startswith(f"schedule {number} ")
        ]
    assert {"manifest", "labels", "schedules", "data", "budget", "config.toml", "model.safetensors"} <= set(names)
    noisy = ("speed-up", "latency")  # of a batch of four tiny images, on a machine that has more to do
    assert not {name for name in failed(report) if not name.endswith(noisy)}


def test_a_certificate_is_read_as_it_was_written(folder):
    stored = StoredSchedules.read(folder)
    values = json.loads((folder / "certificate.json").read_text())["schedules"]
    assert [each.to_dict() for each in stored.schedules] == [
        {key: tuple(value) if isinstance(value, list) else value for key, value in each.items() if key != "high_ms"}
        for each in values
    ]
    assert [each.high_ms(stored.dense_ms) for each in stored.schedules] == [each["high_ms"] for each in values]


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "config.toml", "labels.txt"])
def test_a_changed_file_fails_and_is_not_run(copy, name, sealed):
    content = bytearray((copy / name).read_bytes())
    content[-2] ^= 1
    (copy / name).write_bytes(content)
    if sealed:
        seal(copy)
    report = check(copy)
    assert name in failed(report)
    assert ("manifest" in failed(report)) is not sealed
    is_run = any(line.what == "data" for line in report.lines)
    assert is_run is (name == "labels.txt")


def test_exchanged_labels_fail_even_with_every_hash_made_to_fit(copy):
    labels = (copy / "labels.txt").read_text().splitlines()
    (copy / "labels.txt").write_text("\n".join(reversed(labels)))
    rewrite(copy, "certificate.json", lambda document: None)
    assert "labels" in failed(check(copy))


@pytest.mark.parametrize("key", ["keep_rates", "val_top1", "high_ms"])
def test_schedules_that_are_not_those_of_the_certificate_fail(copy, key):
    """What `spvit.load` chooses by."""

    def change(document):
        value = document["schedules"][0][key]
        document["schedules"][0][key] = [0.9 * rate for rate in value] if key == "keep_rates" else 0.5 * value

    rewrite(copy, "config.json", change)
    assert spvit.load(copy) is not None
    assert "schedules" in failed(check(copy))


def test_a_certificate_cannot_promise_an_accuracy_that_a_schedule_does_not_have(copy):
    """Hashes can be made to fit; answers cannot."""
    for name in ("config.json", "certificate.json"):
        rewrite(copy, name, lambda document: document["schedules"][1].update(val_top1=99.0))
    report = check(copy)
    assert failed(report) & {"schedule 0 top-1", "schedule 1 top-1", "schedules"} == {"schedule 1 top-1"}


def test_a_certificate_cannot_promise_a_time_that_a_schedule_does_not_keep(copy):
    def hurry(document):
        for each in document["schedules"]:
            timing = each["timing"]
            for key in ("ratio", "ratio_low", "ratio_high"):
                timing[key] *= 0.01
            timing["elapsed"] = {key: 0.01 * value for key, value in timing["elapsed"].items()}

    rewrite(copy, "certificate.json", hurry)
    stored = StoredSchedules.read(copy)

    def promise(document):
        for each, known in zip(document["schedules"], stored.schedules, strict=True):
            each["high_ms"] = known.high_ms(stored.dense_ms)

    rewrite(copy, "config.json", promise)
    report = check(copy)
    assert {f"schedule {n} {what}" for n in range(NUM_SCHEDULES) for what in ("speed-up", "latency")} <= failed(report)
    assert "schedules" not in failed(report)


def test_a_latency_that_no_schedule_was_certified_for_fails(copy):
    [line] = [line for line in check(copy, max_latency_ms=1e-6).lines if line.what == "budget"]
    assert line.state is CheckState.FAIL
    assert "a schedule within 1e-06 ms was asked for" in line.text


def test_on_another_device_times_are_notes(copy):
    rewrite(copy, "certificate.json", lambda document: document.update(device="elsewhere"))
    report = check(copy)
    states = {line.what: line.state for line in report.lines}
    assert states["schedule 0 latency"] is CheckState.NOTE
    assert states["schedule 0 top-1"] is CheckState.PASS


def test_other_images_are_found(copy, tmp_path):
    assert "data" in failed(check(copy, data=write_images(tmp_path / "other", seed=1)))


def test_missing_data_is_a_line_that_fails(copy, tmp_path):
    [line] = [line for line in check(copy, data=tmp_path / "nowhere").lines if line.what == "running"]
    assert line.state is CheckState.FAIL
    assert "data.path must be a folder" in line.text


def test_a_damaged_certificate_is_no_export(copy):
    rewrite(copy, "certificate.json", lambda document: document.update(schedules=[]))
    with pytest.raises(CheckpointError, match="it certifies no schedule"):
        check(copy)
