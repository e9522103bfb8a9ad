"""What several tests share, made when first asked for: a local Ray, a tiny trained model, real data."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ldns_ray.config import Experiment
    from ldns_ray.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[1]

# Ray reads these when it is imported, which some test modules do at their top.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# Ray's workers give way to everything else on the machine, and would wait for it; here, tests wait for them.
os.environ.setdefault("RAY_worker_niceness", "0")
# For the object store of the fixture `s3`, which asks for some and checks none. Ray's workers take them from here.
for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    os.environ.setdefault(name, "testing")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
# Ray's workers import the package from this checkout, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A Ray of two CPUs on this machine, for the whole test session."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on this machine, for the whole test session: its address, such as http://127.0.0.1:9000."""
    import pyarrow.fs

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                assert server.poll() is None, f"moto_server ended with {server.returncode}"
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            endpoint = f"127.0.0.1:{port}"
            admin = pyarrow.fs.S3FileSystem(
                endpoint_override=endpoint, scheme="http", allow_bucket_creation=True
            )
            admin.create_dir("ldns")
            yield f"http://{endpoint}"
        finally:
            server.terminate()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of an S3 server for one test, s3://ldns/…, found through AWS_ENDPOINT_URL."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    return f"s3://ldns/{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is missing")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: what is tiny waits for other threads longer than it computes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> Experiment:
    """Simulated speech, trained within seconds: not to a good model, but all the way."""
    from ldns_ray.config import experiment

    return experiment(
        "speech_small",
        **{
            "dataset.n_trials": 24,
            "dataset.n_units": 16,
            "dataset.min_bins": 30,
            "dataset.max_bins": 60,
            "autoencoder.width": 16,
            "autoencoder.n_blocks": 1,
            "autoencoder.n_latents": 4,
            "autoencoder.optimisation.epochs": 3,
            "autoencoder.optimisation.batch_size": 4,
            "autoencoder.optimisation.warmup_epochs": 1,
            "diffusion.width": 16,
            "diffusion.n_blocks": 1,
            "diffusion.optimisation.epochs": 3,
            "diffusion.optimisation.batch_size": 4,
            "diffusion.optimisation.validate_every": 1,
            "diffusion.optimisation.warmup_epochs": 1,
            "sampling.n_steps": 4,
            "evaluation.n_splits": 4,
            "evaluation.n_resamples": 10,
        },
    )


@pytest.fixture(scope="session")
def trained(tiny: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The tiny experiment, done. Tests may add stages under its root, and must not change what is there."""
    import torch

    from ldns_ray.data.simulation.simulated import simulated_dataset
    from ldns_ray.pipeline import Pipeline

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    root = str(tmp_path_factory.mktemp("trained"))
    pipeline = Pipeline(tiny, simulated_dataset(tiny, root), root)
    pipeline.run()
    torch.set_num_threads(before)
    return pipeline


@pytest.fixture(scope="session")
def sampler_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of random weights that was told angle and velocity, and has a spike history."""
    from tests.models import untrained

    folder = tmp_path_factory.mktemp("sampler") / "model"
    untrained.model(("angle", "length"), ("velocity",), history=True, droppable=True).save(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tracking store, shared, since making one takes seconds. Runs are told apart by experiment and key."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A small sweep that `make sweep` has run: its root, Ray's token, and what it printed.

    Its services run until a test stops them; `local.up` starts them again, with all that they keep.
    """
    from ldns_ray import local
    from tests.making import SMALL, make

    folder = tmp_path_factory.mktemp("made")
    root, token = folder / "root", folder / "token"
    try:
        out, _ = make("sweep", root, token, args=SMALL)
        yield SimpleNamespace(root=root, token=token, out=out)
    finally:
        local.down(root)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a job in this process as its command would; returns exit status, stdout and stderr."""
    from ldns_ray import cli

    monkeypatch.delenv("LDNS_DEBUG", raising=False)
    monkeypatch.delenv("LDNS_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(name: str, *arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", [f"jobs/{name}.py", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.run(importlib.import_module(f"jobs.{name}").main)
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def refuses(job: Callable[..., Any]) -> Callable[..., str]:
    """Runs a job that must end with one line of error; returns the line without `error: `."""

    def run(name: str, *arguments: object) -> str:
        code, _, err = job(name, *arguments)
        assert code == 2
        assert err.startswith("error: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").strip()

    return run
