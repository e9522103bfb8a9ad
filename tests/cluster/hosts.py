"""Hosts on one machine: network namespaces on a bridge. A host can be cut off, and all that runs in it be ended."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
END_LIMIT_S = 20.0


def why_no_hosts() -> str:
    """What this machine lacks for hosts; nothing if they can be made."""
    if shutil.which("ip") is None:
        return "network namespaces need the command `ip` of iproute2"
    if os.geteuid() != 0:
        return "network namespaces can be made by root alone"
    probe = f"ldns{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


def _ip(*words: str) -> str:
    """What `ip` prints. Raises RuntimeError with what it says where it fails."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """A network namespace with an address on a network's bridge. Nothing outside the network can be reached from it.

    The interface is called eth0. Memory, files and CPUs are the machine's.
    """

    def __init__(self, network: Network, number: int) -> None:
        self.name = f"{network.name}h{number}"
        self.address = f"{network.subnet}.{number}"
        self._network = network
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Host:
        _ip("netns", "add", self.name)
        try:
            outer = self.name
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _ip("link", "set", outer, "up")
            _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
            _ip("-n", self.name, "link", "set", "lo", "up")
            self.mend()
        except BaseException:
            _ip("netns", "del", self.name)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end_all()
        finally:
            # The kernel ends a namespace's links later than the namespace: nobody waits for that.
            _ip("link", "del", self.name)
            _ip("netns", "del", self.name)

    def cut(self) -> None:
        """Take the host off the network: packets to and from it are lost, without a word to either side."""
        _ip("link", "set", self.name, "nomaster")

    def mend(self) -> None:
        """Put the host on the network, where it is not."""
        _ip("link", "set", self.name, "master", self._network.name)
        _ip("-n", self.name, "link", "set", "eth0", "up")
        # By the default route, programs that ask which address leads outside are told eth0's.
        _ip("-n", self.name, "route", "replace", "default", "via", self._network.address)

    def run(
        self, command: Sequence[str], env: Mapping[str, str], out: int
    ) -> subprocess.Popen[bytes]:
        """Start a command in this host, in a session of its own.

        env: its whole environment. out: descriptor of the file for what it prints, errors included.
        """
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command], cwd=ROOT, env=dict(env), stdin=subprocess.DEVNULL,
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def processes(self, word: str = "") -> list[psutil.Process]:
        """What runs in this host, or those of it that have `word` in their command line."""
        found = []
        for pid in _ip("netns", "pids", self.name).split():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(pid))
                if word in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def end_all(self) -> None:
        """Kill everything in this host, at once, as when a machine loses its power."""
        deadline = time.monotonic() + END_LIMIT_S
        while running := self.processes():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{running} in {self.name} cannot be ended")
            for process in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            self._reap()
            time.sleep(0.05)
        self._reap()

    def _reap(self) -> None:
        self._started = [process for process in self._started if process.poll() is None]


class Network:
    """A bridge for hosts, with an address of this machine on it. Of any process's networks, names and subnets differ."""

    def __init__(self) -> None:
        self.name = f"ldns{os.getpid()}"
        self.subnet = _free_subnet()
        self.address = f"{self.subnet}.1"
        self._numbers = itertools.count(2)

    def __enter__(self) -> Network:
        _ip("link", "add", self.name, "type", "bridge")
        try:
            _ip("addr", "add", f"{self.address}/24", "dev", self.name)
            _ip("link", "set", self.name, "up")
        except BaseException:
            _ip("link", "del", self.name)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _ip("link", "del", self.name)

    @contextlib.contextmanager
    def hosts(self, n: int) -> Iterator[list[Host]]:
        """So many hosts; at the end nothing runs in them, and they are gone."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(Host(self, next(self._numbers))) for _ in range(n)]


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; what has ended and nobody has heard of does not."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _free_subnet() -> str:
    """The first three numbers of a /24 that no interface of this machine has an address in."""
    taken = {
        address["local"].rpartition(".")[0]
        for interface in json.loads(_ip("-json", "-4", "addr"))
        for address in interface["addr_info"]
    }
    numbers = itertools.chain(range(os.getpid() % 200, 250), range(250))
    return next(s for s in (f"10.77.{n}" for n in numbers) if s not in taken)
