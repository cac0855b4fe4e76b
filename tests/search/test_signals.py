"""The first signal asks for an end in order; a second, or a long wait, ends the process. In processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import signal, sys, time
from search import signals
from search.cli import main

def say(text):
    print(text, flush=True)

def send(number):
    signal.raise_signal(number)
"""


def _run(body, code):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + body], check=False, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_the_first_signal_asks_and_the_second_ends(number):
    out, err = _run(
        f"""
with signals.stop_on_signals(lambda: say("asked")):
    send(signal.{number})
    say("goes-on")
    with signals.stop_on_signals(lambda: say("never")):  # as after ray.init
        send(signal.{number})
    say("never")
""",
        code=75,
    )
    assert out == ["asked", "goes-on"]
    assert err == "stopped at once; everything finished is kept and `spvit-search resume` goes on\n"


def test_an_end_in_order_that_takes_too_long_is_cut_off():
    out, _ = _run(
        """
signals.IN_ORDER_WITHIN_S = 0.05
with signals.stop_on_signals(lambda: say("asked")):
    send(signal.SIGTERM)
    while True:
        time.sleep(0.01)
""",
        code=75,
    )
    assert out == ["asked"]


def test_an_end_in_order_in_time_is_left_alone_and_the_old_handlers_come_back():
    out, _ = _run(
        """
signals.IN_ORDER_WITHIN_S = 0.3
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
with signals.stop_on_signals(lambda: say("asked")):
    send(signal.SIGTERM)
assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
time.sleep(0.5)
say("end")
""",
        code=0,
    )
    assert out == ["asked", "end"]


@pytest.mark.parametrize(("code", "last"), [(0, ["end", "python-s-own-end"]), (75, ["end"])])
def test_a_process_that_was_told_to_stop_says_all_and_skips_what_python_does_at_its_end(code, last):
    out, err = _run(
        f"""
import atexit
atexit.register(say, "python-s-own-end")
sys.stdout.write("end\\n")
sys.stderr.write("why")
signals.end_process({code})
""",
        code=code,
    )
    assert (out, err) == (last, "why")


def test_a_request_before_there_is_anything_to_stop_is_passed_on():
    from search.signals import StopRequest

    heard = []
    early, late = StopRequest(), StopRequest()
    early()
    early.goes_to(lambda: heard.append("early"))
    late.goes_to(lambda: heard.append("late"))
    assert heard == ["early"]
    late()
    assert heard == ["early", "late"]


def test_every_command_takes_sigterm_for_a_request_to_stop(tmp_path):
    fifo = tmp_path / "experiment.toml"
    os.mkfifo(fifo)  # the command waits for what will never be written
    process = subprocess.Popen(
        [sys.executable, "-m", "search.cli", "plan", str(fifo)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with fifo.open("w"):  # returns when the command has opened it
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (75, "error: stopped on request")
