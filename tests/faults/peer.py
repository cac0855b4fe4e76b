"""Drivers of the peer's search killed as ours are with Ray: DIRECTORY NUM_SEARCHES. Goes on where it was stopped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "search"), str(HERE.parent / "integration"), str(HERE.parents[1])]

from command_line import give_mlflow_database  # noqa: E402
from faulty_search import TOLD, WORK  # noqa: E402
from harness import environment, wait_until  # noqa: E402
from judging import notes  # noqa: E402
from peer_search import NUM_TRIALS  # noqa: E402

MARK = "SPVIT_PEER_MARK"
NUM_KILLS = 1
LIMIT_S = 900
"""For a session; one that takes longer hangs."""


class Session:
    """One process of the peer's search, and all that it started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.begun_at = folder, time.time()
        self._num_begun = len(notes(folder, WORK))
        self.popen = subprocess.Popen(
            [sys.executable, str(HERE / "peer_search.py"), str(folder)],
            env=environment() | {MARK: str(folder), "RAY_AIR_NEW_OUTPUT": "0", "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=(folder / "peer.log").open("ab"),
            stderr=subprocess.STDOUT,
        )

    @property
    def num_begun(self) -> int:
        """Epochs begun since it started."""
        return len(notes(self.folder, WORK)) - self._num_begun

    def end(self) -> int:
        """Its exit code; what it left running is ended, for the next session's sake."""
        try:
            return self.popen.wait(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return -999
        finally:
            self._clear()

    def _clear(self) -> None:
        time.sleep(2.0)
        mark = f"{MARK}={self.folder}\0".encode()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes():
                    os.kill(int(path.name), signal.SIGKILL)
            except OSError:
                continue


def killed(folder: Path, seed: int) -> dict[str, Any]:
    """A search whose driver is killed."""
    chance, done_before, twice, faults, recoveries, codes = random.Random(seed), set(), set(), 0, [], []
    for number in range(NUM_KILLS + 1):
        session = Session(folder)
        if number < NUM_KILLS:
            wanted = chance.randint(1, 10)
            wait_until(lambda s=session, n=wanted: s.popen.poll() is not None or s.num_begun >= n, LIMIT_S)
            time.sleep(chance.uniform(0.0, 0.6))
            faults += session.popen.poll() is None
            session.popen.kill()
        codes.append(session.end())
        own = [line for line in notes(folder, WORK) if line["at"] >= session.begun_at]
        twice |= done_before & {line["root"] for line in own}
        if number and own:
            recoveries.append(own[0]["at"] - session.begun_at)
        done_before = {line["number"] for line in notes(folder, TOLD)}
    work, path = notes(folder, WORK), folder / "result.json"
    result = json.loads(path.read_text()) if path.exists() else None
    return {
        "seed": seed,
        "faults": faults,
        "codes": codes,
        "run_twice": len(twice),
        "lost": NUM_TRIALS if result is None else max(0, NUM_TRIALS - result["tune"]),
        "epochs": len(work),
        "epochs_wasted": len(work) - len({(line["root"], line["epoch"]) for line in work}),
        "recoveries_s": recoveries,
        "result": result,
    }


def main() -> None:
    directory, num_searches = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    results = directory / "peer.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for seed in set(range(num_searches)) - {line["seed"] for line in lines}:
        folder = directory / f"peer-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        give_mlflow_database(folder)
        line = killed(folder, seed)
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
