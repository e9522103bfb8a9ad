"""A trained LDNS model in MLflow: weights and config as they are on disk, and code that samples."""

import tempfile
from importlib.metadata import version
from pathlib import Path

import mlflow.pyfunc
from mlflow.entities import LoggedModelStatus
from mlflow.models import Model

from ldns_ray.models.ldns import LDNS
from ldns_ray.redaction import without_secrets
from ldns_ray.tracking import notes
from ldns_ray.tracking.request_rows import Table
from ldns_ray.tracking.runs import FINGERPRINT, MODELS, NOTE, Run
from ldns_ray.tracking.sampler import answer_schema

# Small: MLflow samples it when the model is logged.
EXAMPLE = [{"n": 1, "length": 10, "seed": 0}]
# Named, because MLflow would otherwise load the model to find out what it imports.
_REQUIRED = ("mlflow", "numpy", "pandas", "pydantic", "safetensors", "scipy", "torch")


def log_model(
    run: Run, folder: str | Path, name: str = "ldns", *, fingerprint: str = "", what: str = ""
) -> str:
    """Log the model in `folder` (`model.safetensors`, `config.json`) as an output of `run`.

    fingerprint: what `Tracking.find_model` finds it by. what: a sentence for the model's page.

    Returns its address, `models:/m-…`, which `mlflow.pyfunc.load_model` and `mlflow models serve`
    take. The model samples: see `sampler.spike_sampler`. Its signature names its own conditions and covariates.
    Nothing in it is pickled; it carries this package's code. Raises FileNotFoundError when a file of the model is
    missing, ValueError when one cannot be read.
    """
    folder = Path(folder)
    for needed in ("model.safetensors", "config.json"):
        if not (folder / needed).exists():
            raise FileNotFoundError(
                f"No {needed} in {folder}. Give the folder that the trained model was saved to."
            )
    conditioning = LDNS.load(folder).conditioning
    inputs = {"conditions": conditioning.conditions, "covariates": conditioning.covariates}
    package = Path(__file__).resolve().parents[1]
    tracking, client = run.tracking, run.tracking.client
    logged = client.create_logged_model(
        tracking.experiment_id,
        name=name,
        source_run_id=run.run_id,
        model_type="LDNS",
        tags={FINGERPRINT: fingerprint} if fingerprint else None,
    )
    address = f"{MODELS}{logged.model_id}"
    note = notes.model_page(without_secrets(what), address, Table(**inputs).meanings)
    client.set_logged_model_tags(logged.model_id, {NOTE: note})
    try:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model"
            described = Model(
                artifact_path=logged.artifact_location,
                run_id=run.run_id,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
            )
            mlflow.pyfunc.save_model(
                path=str(path),
                python_model=str(package / "tracking" / "pyfunc_model.py"),
                model_config=inputs,
                artifacts={"ldns": str(folder)},
                code_paths=[str(package)],
                input_example=EXAMPLE,
                # The local part of a version (torch 2.13.0+cpu) is not on every index.
                pip_requirements=[f"{p}=={version(p).partition('+')[0]}" for p in _REQUIRED],
                mlflow_model=described,
            )
            # MLflow makes the signature from the type of the sampler's rows, and knows nothing of its answers.
            assert described.signature is not None
            described.signature.outputs = answer_schema(**inputs)
            described.save(str(path / "MLmodel"))
            tracking.repository(logged.artifact_location).log_artifacts(str(path))
    except BaseException:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    run.model(address, "output")
    return address
