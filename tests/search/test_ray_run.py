"""What is decided around Ray, without starting it; `tests/integration` starts it."""

import signal
import socket
from contextlib import contextmanager

import pytest
import tabulated

from search import ray_run, ray_session
from search.trial_factory import fine_tune_trial
from spvit.errors import ClusterError


@pytest.fixture
def started(monkeypatch):
    """What was started, with a Ray that cannot be."""
    started = []
    monkeypatch.setattr(ray_run, "_check_resources", lambda _: started.append("check"))
    monkeypatch.setattr(ray_run, "_fit", lambda *_: started.append("fit"))
    return started


def _driver(tmp_path):
    config = tabulated.experiment(tmp_path)
    return config, tabulated.make_driver(config)


def test_a_search_that_is_to_stop_starts_no_ray(tmp_path, started, monkeypatch):
    config, driver = _driver(tmp_path)
    monkeypatch.setattr(ray_run, "_ray", lambda *_: pytest.fail("Ray was started"))
    driver.stop()
    ray_run.run_on_ray(driver, config, fine_tune_trial)
    assert started == []


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_search_that_is_stopped_while_ray_starts_starts_no_tune(tmp_path, started, monkeypatch, is_stopped):
    config, driver = _driver(tmp_path)

    @contextmanager
    def starting(*_):
        if is_stopped:
            driver.stop()
        yield

    monkeypatch.setattr(ray_run, "_ray", starting)
    ray_run.run_on_ray(driver, config, fine_tune_trial)
    assert started == ([] if is_stopped else ["check", "fit"])


def test_ray_puts_no_handler_of_sigterm_in_place_of_the_search_s_while_it_starts(monkeypatch):
    from ray._private import utils

    asked = []
    monkeypatch.setattr(utils, "set_sigterm_handler", asked.append)
    before = signal.getsignal(signal.SIGTERM)
    with ray_session._own_signals():
        utils.set_sigterm_handler(signal.default_int_handler)
        assert signal.getsignal(signal.SIGTERM) is before
    utils.set_sigterm_handler("theirs")
    assert asked == ["theirs"]


FAILURE = """Initialization failure from server:
Traceback (most recent call last):
  File "proxier.py", line 772, in Datapath
RuntimeError: {sentence} See ray_client_server_23000.err for detailed logs.
"""


@pytest.fixture
def failing(monkeypatch):
    """A Ray whose first starts fail with what it is given, and how often it was asked to start."""
    import ray

    failures, asked = [], []

    def init(**arguments):
        asked.append(arguments["address"])
        if failures:
            raise ConnectionAbortedError(failures.pop(0))

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return failures, asked


@pytest.mark.parametrize("sentence", ["Starting Ray client server failed.", "Proxy failed to Connect to backend!"])
def test_a_client_s_server_that_came_to_nothing_is_started_again(failing, sentence):
    failures, asked = failing
    failures += [FAILURE.format(sentence=sentence)] * (ray_session.NUM_STARTS - 1)
    ray_session._start("ray://there:10001", {})
    assert asked == ["ray://there:10001"] * ray_session.NUM_STARTS


def test_a_client_s_server_that_never_comes_up_says_where_to_look(failing):
    failing[0].extend([FAILURE.format(sentence="Starting Ray client server failed.")] * ray_session.NUM_STARTS)
    with pytest.raises(ClusterError, match=r"there:10001 cannot be reached: RuntimeError: .*23000.err for detailed"):
        ray_session._start("ray://there:10001", {})


def test_what_another_start_will_not_mend_is_not_tried_again(failing):
    failures, asked = failing
    failures.append("ray client connection timeout")
    with pytest.raises(ClusterError, match=r"connection timeout\. Check --address"):
        ray_session._start("ray://there:10001", {})
    assert len(asked) == 1


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_where_nobody_listens_is_said_so_at_once(monkeypatch, scheme):
    monkeypatch.setattr(ray_session, "use_cluster_token", lambda *_, **__: None)
    monkeypatch.setattr(ray_session, "_start", lambda *_: pytest.fail("Ray was asked"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = rf"the Ray cluster at {scheme}127\.0\.0\.1:{port} cannot be reached: Connection refused\. Check --address"
    with pytest.raises(ClusterError, match=told), ray_session.connected(f"{scheme}127.0.0.1:{port}"):
        pass
