import json

import pytest

from spvit.thresholds import Calibration, Thresholds

CALIBRATION = Calibration(target_keep_rates=(0.7, 0.5), keep_rates=(0.701, 0.499), num_images=2000)


@pytest.mark.parametrize("calibration", [None, CALIBRATION])
def test_json_brings_thresholds_back(calibration):
    thresholds = Thresholds(values=(0.1, -1e30), calibration=calibration)
    assert Thresholds.from_dict(json.loads(json.dumps(thresholds.to_dict()))) == thresholds


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="finite numbers"):
        Thresholds(values=(float("nan"),))
    with pytest.raises(ValueError, match="one keep rate for each of 1 thresholds"):
        Thresholds(values=(0.0,), calibration=CALIBRATION)
    with pytest.raises(ValueError, match="at least one image"):
        Calibration(target_keep_rates=(0.5,), keep_rates=(0.5,), num_images=0)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\]"):
        Calibration(target_keep_rates=(0.5,), keep_rates=(1.5,), num_images=1)
    with pytest.raises(ValueError, match="needs the keep rate that was reached"):
        Calibration(target_keep_rates=(0.5,), keep_rates=(), num_images=1)
