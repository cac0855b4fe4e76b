import math

import pytest

from search.devices import Devices


def width(params):
    return params["width"]


def test_one_device_is_named_by_its_function_alone():
    devices = Devices.of(width, 3.0)
    assert (len(devices), devices.price({"width": 2}), devices.caps_ms) == (1, (2.0,), (3.0,))
    assert Devices.of(width).caps_ms == (math.inf,)


def test_a_configuration_must_be_within_the_cap_of_every_device():
    devices = Devices.of([width, lambda params: 2 * params["width"]], [3.0, None])
    assert [devices.admit(devices.price({"width": w})) for w in (3.0, 3.1, math.nan, math.inf)] == [True] + [False] * 3
    assert not Devices.of([width, width], [3.0, 2.0]).admit((2.5, 2.5))


def test_what_one_device_cannot_price_has_no_price():
    assert Devices.of([width, lambda params: params["depth"]]).price({"width": 1.0}) is None


@pytest.mark.parametrize(
    ("functions", "caps", "message"),
    [
        ([], None, "at least one latency function"),
        ([width, width], 3.0, "each of 2 latency functions, but got 1"),
        (width, [1.0, 2.0], "each of 1 latency functions, but got 2"),
        ([width, width], [1.0, -1.0], "above 0, but got -1"),
        (width, math.nan, "above 0, but got nan"),
    ],
)
def test_devices_and_caps_that_do_not_fit_are_refused(functions, caps, message):
    with pytest.raises(ValueError, match=message):
        Devices.of(functions, caps)
