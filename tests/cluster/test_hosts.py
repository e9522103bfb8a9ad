"""Hosts are apart from the machine and from each other, can be cut off, and leave nothing behind."""

import os
import socket
import subprocess
import sys
import time

import pytest

from tests.cluster.hosts import alive
from tests.cluster.services import listens

pytestmark = pytest.mark.slow

LISTEN = "import socket, time; s = socket.create_server(('', 7000)); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {LISTEN!r}], start_new_session=True).wait()"


@pytest.fixture
def hosts(network):
    with network.hosts(2) as made:
        yield made


def run(host, program):
    """Start a Python program in a host."""
    return host.run([sys.executable, "-c", program], os.environ, subprocess.DEVNULL)


def within(seconds, true):
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def reaches(host, address):
    """Whether a program in `host` can connect to port 7000 of an address."""
    program = f"import socket; socket.create_connection(({address!r}, 7000), 1)"
    return run(host, program).wait() == 0


def test_hosts_reach_each_other_unless_one_is_cut_off(hosts, network):
    one, two = hosts
    run(two, LISTEN)
    assert within(10, lambda: listens(two.address, 7000))
    assert reaches(one, two.address)
    assert not reaches(two, one.address), "nobody listens there"
    two.cut()
    assert not reaches(one, two.address)
    assert not listens(two.address, 7000)
    assert two.processes(LISTEN), "it goes on without the network"
    two.mend()
    assert within(10, lambda: reaches(one, two.address))


def test_hosts_do_not_reach_beyond_their_network(hosts):
    """Not even what listens on this machine alone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
        assert run(hosts[0], program).wait() == 1


def test_nothing_is_left(network):
    """Of processes that started others in a session of their own, after an error."""
    with pytest.raises(ZeroDivisionError), network.hosts(2) as made:
        parent = run(made[0], PARENT)
        assert within(10, lambda: listens(made[0].address, 7000))
        name = made[0].name
        family = made[0].processes()
        raise ZeroDivisionError
    assert len(family) == 2
    assert not alive(family)
    assert parent.returncode == -9
    assert name not in subprocess.check_output(["ip", "netns"], text=True)
    assert name not in subprocess.check_output(["ip", "link"], text=True)


def test_a_command_prints_into_its_file(hosts, tmp_path):
    with (tmp_path / "out").open("wb") as out:
        command = ["sh", "-c", "echo $WORD; echo no >&2; exit 3"]
        process = hosts[0].run(command, {**os.environ, "WORD": "yes"}, out.fileno())
    assert process.wait() == 3
    assert (tmp_path / "out").read_text() == "yes\nno\n"
