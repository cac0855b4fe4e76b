import subprocess
import sys
from dataclasses import replace

import pytest

from latency_tables.device import DeviceFingerprint
from spvit.errors import ConfigError


def test_one_machine_has_one_id() -> None:
    first, second = DeviceFingerprint.detect(), DeviceFingerprint.detect()
    assert first == second
    assert first.id == second.id
    assert first.differences(second) == ()


def test_detection_and_checks_need_no_torch() -> None:
    code = (
        "import sys, latency_tables.health, latency_tables.predict, latency_tables.store, latency_tables.device as d;"
        "d.DeviceFingerprint.detect(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu_model", "Another CPU"),
        ("isa_flags", ("sse4_2",)),
        ("logical_cores", 4096),
        ("gpu_name", "A GPU"),
        ("torch_version", "0.4"),
        ("system", "Plan 9"),
    ],
)
def test_other_hardware_and_software_is_another_device(field: str, value: object) -> None:
    here = DeviceFingerprint.detect()
    other = replace(here, **{field: value})  # type: ignore[arg-type]
    assert other.id != here.id
    assert here.differences(other) == (field,)


def test_an_affinity_mask_is_the_same_device() -> None:
    here = DeviceFingerprint.detect()
    assert replace(here, usable_cores=here.usable_cores + 1).id == here.id


def test_a_gpu_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r'latency\.device = "cuda:99" needs a GPU, but torch .* sees \d+ here'):
        DeviceFingerprint.detect("cuda:99")
