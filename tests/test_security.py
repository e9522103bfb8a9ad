"""Who may reach what `python -m ldns_ray.local up` starts: this machine alone, and Ray with the token alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ldns_ray import local, services

pytestmark = pytest.mark.slow

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
CLIENT = """
import sys
import ray

ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
print("ran", ray.get(ray.remote(lambda: 1).remote()), flush=True)
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The services of a root, and the file of their token."""
    folder = tmp_path_factory.mktemp("up")
    root, token = folder / "root", folder / "token"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.delenv("RAY_AUTH_TOKEN", raising=False)
        try:
            known = local.up(root)
            yield SimpleNamespace(root=root, token=token, known=known)
        finally:
            local.down(root)


def ask(address: str, token: str = "", body: object = None) -> tuple[int, str]:
    """HTTP status and text of an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = None if body is None else json.dumps(body).encode()
    if content:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(address, content, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def listening(service: services.Service) -> dict[str, set[int]]:
    """Address → ports on which processes of a service listen."""
    found: dict[str, set[int]] = {}
    for process in services._members(service):
        with contextlib.suppress(psutil.NoSuchProcess):
            for c in process.net_connections(kind="inet"):
                if c.status == psutil.CONN_LISTEN:
                    found.setdefault(c.laddr.ip, set()).add(c.laddr.port)
    return found


def client(address: str, token: Path | None) -> subprocess.CompletedProcess[str]:
    """A program that runs a task on the Ray at this address."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")}
    # Else Ray takes 127.0.0.1 for the machine's outer address, where nobody listens.
    env |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}
    if token is not None:
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    return subprocess.run(
        [sys.executable, "-c", CLIENT, address], env=env, capture_output=True, text=True, timeout=150
    )  # fmt: skip


def test_nothing_listens_beyond_this_machine(up):
    for name, service in up.known.items():
        found = listening(service)
        assert set(found) <= LOOPBACK, f"{name}: {found}"
        assert service.port in {port for ports in found.values() for port in ports}


@pytest.mark.parametrize("page", ["/api/jobs/", "/api/version", "/nodes?view=summary", "/api/v0/actors", "/"])  # fmt: skip
def test_the_dashboard_and_its_jobs_ask_for_the_token(up, page, tmp_path):
    address, token = up.known["ray"].address, up.token.read_text()
    open_to_all = page == "/"  # the page itself, which asks for the token, and holds nothing
    for given in ("", "0" * 64, token[:-1]):
        status, text = ask(address + page, given)
        assert status in ((200,) if open_to_all else (401, 403)), text
        assert token not in text
    status, _ = ask(address + page, token)
    assert status == 200


def test_a_job_without_the_token_does_not_run(up, tmp_path):
    address, token = up.known["ray"].address, up.token.read_text()
    body = {"entrypoint": f"touch {tmp_path / 'ran'}", "submission_id": "intruder"}
    for given in ("", "0" * 64):
        assert ask(f"{address}/api/jobs/", given, body)[0] in (401, 403)
    status, text = ask(f"{address}/api/jobs/", token)
    assert status == 200
    assert "intruder" not in text
    assert not (tmp_path / "ran").exists()


def ports_of(up) -> tuple[str, str]:
    """The addresses of Ray's head and of its client server."""
    words = psutil.Process(up.known["ray"].pid).cmdline()
    head, client_server = (words[words.index(flag) + 1] for flag in ("--port", "--ray-client-server-port"))  # fmt: skip
    return f"127.0.0.1:{head}", f"ray://127.0.0.1:{client_server}"


@pytest.mark.parametrize("which", [0, 1], ids=["driver", "client"])
def test_drivers_and_clients_need_the_token(up, tmp_path, which):
    address = ports_of(up)[which]
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    for token in (None, wrong):
        refused = client(address, token)
        assert refused.returncode != 0
        assert "ran" not in refused.stdout
        assert re.search(r"ConnectionError|Authentication|UNAUTHENTICATED", refused.stderr)
    if (
        which == 0
    ):  # a client would wait for another server to start, for half a minute and no longer
        accepted = client(address, up.token)
        assert accepted.stdout == "ran 1\n", accepted.stderr[-2000:]


def test_the_token_is_in_no_log(up):
    token = up.token.read_text().encode()
    assert up.token.stat().st_mode & 0o077 == 0
    files = [path for path in up.root.rglob("*") if path.is_file()]
    assert any(path.name == "ray.log" for path in files)
    assert [path for path in files if token in path.read_bytes()] == []
    for service in up.known.values():
        for process in services._members(service):
            with contextlib.suppress(psutil.Error):
                assert token.decode() not in " ".join(process.cmdline())
