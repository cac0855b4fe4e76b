"""A network of a test's own, with a loopback and one address more, and what listens where in it."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAN = "192.0.2.7"
"""An address that others would reach; reserved for documentation, so nobody's."""
SETUP = (
    "ip link set lo up && ip link add lan type veth peer name beyond && ip link set beyond up && "
    f"ip addr add {LAN}/24 dev lan && ip link set lan up && "
    'exec "$@"'
)
LISTENS = "0A"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Listener:
    """A TCP socket on which somebody may be answered."""

    program: str
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


def command(*arguments: str | Path) -> list[str]:
    """A command line that runs another one in a network of its own."""
    as_user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *as_user, "--net", "sh", "-c", SETUP, "sh", *map(str, arguments)]


def why_not() -> str:
    """Why there can be no network of one's own here; empty where there can."""
    missing = [name for name in ("unshare", "ip") if shutil.which(name) is None]
    if missing:
        return f"needs {' and '.join(missing)} (Debian: apt-get install util-linux iproute2)"
    done = subprocess.run(command("true"), check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"needs the right to make a network of its own: {done.stderr.strip()}"


def listeners(process: int) -> set[Listener]:
    """All that listen in a process's own network; empty where it is gone, or not yet in one."""
    try:
        network = Path(f"/proc/{process}/ns/net").readlink()
        if network == Path("/proc/self/ns/net").readlink():
            return set()
        rows = [row for name in ("tcp", "tcp6") for row in _rows(Path(f"/proc/{process}/net/{name}"))]
    except OSError:
        return set()
    programs = _programs(network)
    return {
        Listener(program=programs.get(row["inode"], "unknown"), address=_address(row["host"]), port=row["port"])
        for row in rows
    }


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines()[1:]:
        fields = line.split()
        host, _, port = fields[1].partition(":")
        if fields[3] == LISTENS:
            yield {"host": host, "port": int(port, 16), "inode": fields[9]}


def _address(digits: str) -> str:
    """The kernel writes words of four bytes, each in the machine's own order."""
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _programs(network: Path) -> dict[str, str]:
    """The program that holds each socket of a network, by the socket's number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "ns" / "net").readlink() != network:
                continue
            name = _name((folder / "cmdline").read_bytes().decode(errors="replace").split("\0"))
            for descriptor in (folder / "fd").iterdir():
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    found[target[len("socket:[") : -1]] = name
        except OSError:
            continue
    return found


def _name(arguments: Sequence[str]) -> str:
    """The program of a command line: the script or module where it is Python's, else the file."""
    program, *rest = arguments
    if not Path(program).name.startswith("python"):
        return program
    module = rest[rest.index("-m") + 1] if "-m" in rest else ""
    return module or next((argument for argument in rest if argument and not argument.startswith("-")), program)
