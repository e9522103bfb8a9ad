"""jobs/benchmark.py: a table, a JSON file, a run in MLflow, on a machine without Ray and MLflow as well."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ldns_ray.tracking.connection import connect

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--parts", "steps,speed"), "--parts must be of steps, kernels, .* got 'speed'"),
        (("--device", "tpu"), "--device must be cpu or cuda, got 'tpu'"),
        (("--repeats", "0"), "--repeats must be at least 1, got 0"),
    ],
)
def test_refused(refuses, arguments, message):
    assert re.search(message, refuses("benchmark", *arguments))


def test_table_file_and_run(job, tmp_path, tracking_uri):
    out = tmp_path / "b.json"
    code, text, err = job(
        "benchmark", "--parts", "kernels", "--repeats", "1", "--out", str(out), "--tracking-uri", tracking_uri
    )  # fmt: skip
    assert (code, err) == (0, "")
    title = "kernel beside convolution, one layer"
    rows = json.loads(out.read_text())[title]
    assert [r["network"] for r in rows] == [
        f"{system} {network}" for network in ("autoencoder", "denoiser") for system in ("lorenz", "speech", "reach")
    ]  # fmt: skip
    lines = text.splitlines()
    start = lines.index(title)
    assert lines[start + 1].split() == ["network", "batch", "kernel_s", "convolution_s", "ratio"]
    assert f"{rows[0]['ratio']:.4g}" in lines[start + 3]
    tracking = connect(tracking_uri, "benchmark")
    (run,) = tracking.client.search_runs([tracking.experiment_id])
    assert run.info.run_id in text
    assert {f.path for f in tracking.client.list_artifacts(run.info.run_id)} >= {"benchmark.json"}


def test_runs_where_only_torch_numpy_and_scipy_are(tmp_path):
    program = (
        "import sys\n"
        "for name in ('ray', 'mlflow', 'pyarrow', 'optuna', 'safetensors', 'pandas', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from jobs.benchmark import main\n"
        "main(['--parts', 'kernels', '--repeats', '1', '--out', sys.argv[1]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "b.json")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "lorenz denoiser" in done.stdout
