"""Passwords and keys are told nowhere: not on a terminal, in a log, on a card, in a model, or in MLflow."""

import re
import sys

import pytest

from ldns_ray import cli, storage
from ldns_ray.config import changes
from ldns_ray.data.card import read_card
from ldns_ray.data.shards import write_dataset
from ldns_ray.models.ldns import LDNS
from ldns_ray.redaction import discreet, redacted, without_secrets
from ldns_ray.settings import settings
from ldns_ray.tracking.patience import reason
from ldns_ray.tracking.tags import command_line
from tests.data.datasets import ragged
from tests.models import untrained

URI = "s3://KEY:HUSH@lab/x?secret_key=HUSH&region=eu"
SHOWN = "s3://lab/x?secret_key=…&region=eu"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("s3://KEY:SECRET@bucket/folder", "s3://bucket/folder"),
        ("s3://KEY:SEC/RET+x@bucket/folder", "s3://bucket/folder"),
        ("https://ghp_token1@github.com/a/b", "https://github.com/a/b"),
        ("http://a:b@c@host:5000/x", "http://host:5000/x"),
        ("postgresql+psycopg://me:pw@db:5432/mlflow", "postgresql+psycopg://db:5432/mlflow"),
        ("from http://a:b@c to http://d:e@f.", "from http://c to http://f."),
        (
            "s3://b/x?endpoint_override=http://u:p@h:9000&scheme=http",
            "s3://b/x?endpoint_override=http://h:9000&scheme=http",
        ),
        ("s3://b/x?access_key=A&secret_key=B&region=c", "s3://b/x?access_key=…&secret_key=…&region=c"),
        (
            "https://b/x?X-Amz-Credential=A%2Fb&X-Amz-Expires=60&X-Amz-Signature=c&X-Amz-Security-Token=d",
            "https://b/x?X-Amz-Credential=…&X-Amz-Expires=60&X-Amz-Signature=…&X-Amz-Security-Token=…",
        ),
        ("https://b/x?AWSAccessKeyId=A&Signature=B", "https://b/x?AWSAccessKeyId=…&Signature=…"),
        ("az://b/x?sv=2022&sig=abc%3D", "az://b/x?sv=2022&sig=…"),
        ("https://maps/x?key=abc#there", "https://maps/x?key=…"),
        ("AWS_SECRET_ACCESS_KEY=abc python x.py", "AWS_SECRET_ACCESS_KEY=… python x.py"),
        ("MLFLOW_TRACKING_PASSWORD='a b' python x.py", "MLFLOW_TRACKING_PASSWORD=… python x.py"),
        # Nothing to hide:
        ("http://host:5000/p@x", "http://host:5000/p@x"),
        ("http://host:5000", "http://host:5000"),
        ("s3://bucket/run@2024:1/x", "s3://bucket/run@2024:1/x"),
        ("someone@example.org, 12:30", "someone@example.org, 12:30"),
        ("monkey=3 autoencoder.n_tokens=4 design=x", "monkey=3 autoencoder.n_tokens=4 design=x"),
    ],
)  # fmt: skip
def test_secrets_of_uris_and_commands_are_taken_out(text, shown):
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


def test_values_of_any_depth():
    value = {"a": [URI, 3, None], URI: (1.5, {"b": "x"})}
    assert redacted(value) == {"a": [SHOWN, 3, None], SHOWN: [1.5, {"b": "x"}]}


def test_long_texts_take_no_longer_than_their_length():
    """Within the second that a scan of every pair of 200,000 characters would take many times."""
    text = "a.b-" * 50_000
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("error", "debug", "status"),
    [(ValueError, "", 2), (ValueError, "1", 1), (RuntimeError, "", 1), (KeyError, "", 1)],
)
def test_jobs_print_no_secrets(monkeypatch, capsys, error, debug, status):
    def job(argv):
        print("Results:", *argv)
        sys.stdout.writelines([f"{URI}\n"])
        print(URI, file=sys.stderr)
        raise error(f"{URI} cannot be reached.")

    monkeypatch.setattr(sys, "argv", ["jobs/x.py", URI])
    monkeypatch.setenv("LDNS_DEBUG", debug)
    streams = sys.stdout, sys.stderr
    with pytest.raises(SystemExit) as ended:
        cli.run(job)
    assert ended.value.code == status
    assert (sys.stdout, sys.stderr) == streams
    out, err = capsys.readouterr()
    assert out == f"Results: {SHOWN}\n{SHOWN}\n"
    assert err.startswith(f"{SHOWN}\n")
    assert f"{SHOWN} cannot be reached." in err
    assert ("Traceback" in err) == (status == 1)
    assert "HUSH" not in out + err


def test_a_stream_is_otherwise_as_it_was(tmp_path, monkeypatch):
    """Progress lines ask whether someone watches; others ask for the file."""
    with (tmp_path / "out").open("w", encoding="latin-1") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with discreet():
            assert sys.stdout is not file
            assert sys.stdout.fileno() == file.fileno()
            assert sys.stdout.encoding == "latin-1"
            assert not sys.stdout.isatty()
        assert sys.stdout is file


def test_cards_hold_no_secrets(tmp_path):
    write_dataset(
        ragged(), tmp_path, name="x", bin_width_s=0.01, source=URI, citation=URI,
        provenance={"model": URI, "files": [{"file": URI}]},
    )  # fmt: skip
    text = (tmp_path / "dataset.json").read_text()
    assert "HUSH" not in text
    card = read_card(tmp_path)
    assert card.source == card.citation == SHOWN
    assert card.provenance == {"model": SHOWN, "files": [{"file": SHOWN}]}


def test_models_hold_no_secrets(tmp_path):
    model = untrained.model()
    model.provenance = {"imported": {"denoiser": {"file": URI}}}
    model.save(tmp_path)
    assert b"HUSH" not in (tmp_path / "config.json").read_bytes()
    assert LDNS.load(tmp_path).provenance == {"imported": {"denoiser": {"file": SHOWN}}}


def test_commands_and_reasons_hold_no_secrets(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jobs/x.py", "--optuna-storage", "mysql://me:HUSH@db/x", URI])
    assert command_line() == f"python jobs/x.py --optuna-storage mysql://db/x '{SHOWN}'"
    assert reason(ConnectionError(f"{URI} refused.")) == f"{SHOWN} refused"


@pytest.mark.slow
def test_an_experiment_leaves_the_key_of_its_storage_nowhere(job, tiny, s3, tmp_path, one_thread):
    """From dataset to report, on an object store whose address holds the key."""
    secret = s3.replace("s3://", "s3://testing:HUSH@")
    given = settings(tiny)
    words = [f"{name}={given[name]}" for name in changes(tiny)]
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    code, out, err = job("train", "speech_small", *words, "--workers", 0, "--root", secret, "--tracking-uri", tracking)  # fmt: skip
    assert code == 0, err
    assert f"Results: {s3}/evaluation/" in out
    kept = {name: storage.read_bytes(storage.join(s3, name)) for name in storage.files_of(s3)}
    logged = {str(p): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for suffix in ("stage.json", "dataset.json", "config.json", "report.html"):
        assert any(name.endswith(suffix) for name in kept)
    assert any(name.endswith("report.html") for name in logged)
    assert len(re.findall(re.escape(s3.encode()), logged[str(tmp_path / "mlflow.db")])) > 5
    told = {"stdout": out.encode(), "stderr": err.encode(), **kept, **logged}
    assert [name for name, content in told.items() if b"HUSH" in content] == []
    # It is done, and found so by whoever has another key.
    code, out, _ = job("train", "speech_small", *words, "--workers", 0, "--root", s3, "--tracking-uri", tracking)  # fmt: skip
    assert code == 0
    assert out.count("already done") == 6
