"""A trained LDNS as what MLflow calls a model: rows of requests in, a row for every sampled trial out."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array
from pydantic import BaseModel, ConfigDict, SkipValidation, create_model

from ldns_ray.models.diffusion import sampler_named
from ldns_ray.models.guidance import check_guidance
from ldns_ray.models.ldns import LDNS
from ldns_ray.models.requests import Requests
from ldns_ray.tracking.request_rows import Request, Table, told_of

MAX_COUNTS = 10_000_000
"""Spike counts, trials × bins × units, of one answer: some 400 MB, and what the networks take for 64 trials at once."""


class RefusedRequest(MlflowException, ValueError):
    """A request that cannot be answered. A served model says its message with status 400."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)


def row_type(table: Table) -> type[BaseModel]:
    """The type of a row, from which MLflow makes the model's signature.

    It takes anything, unknown columns too: MLflow would drop those of a plain signature without a word to who
    asked, cut 2.5 trials to 2, and refuse a table in which one row has a length and another has none. What a cell
    may hold, `Table.read` checks, in sentences.
    """
    anything = ConfigDict(extra="allow", protected_namespaces=())
    unchecked: Any = SkipValidation
    columns: dict[str, Any] = {
        name: (unchecked[column.kind | None], None) for name, column in table.columns.items()
    }
    return create_model("Request", __config__=anything, **columns)


def answer_schema(conditions: Mapping[str, int], covariates: Mapping[str, int]) -> Schema:
    """The columns of an answer."""
    table = Table(conditions, covariates)
    return Schema(
        [
            *(ColSpec(DataType.long, name) for name in ("request", "trial", "n_bins")),
            ColSpec(Array(Array(DataType.long)), "spikes"),
            *(
                ColSpec(DataType.double if conditions[k] == 1 else Array(DataType.double), column)
                for k, column in table.condition_columns.items()
            ),
            *(
                ColSpec(Array(Array(DataType.double)), column)
                for column in table.covariate_columns.values()
            ),
        ]
    )


def spike_sampler(conditions: Mapping[str, int], covariates: Mapping[str, int]) -> PythonModel:
    """The sampler of a model with these conditions and covariates, name → size."""
    table = Table(conditions, covariates)
    Row: Any = row_type(table)

    class SpikeSampler(PythonModel):
        """Draws spiking trials.

        Takes a list of dictionaries or a DataFrame. Columns, all optional: `request_rows.OWN`, and the model's
        conditions and covariates by name, of one trial, for all n trials of the request.
        Answers with a DataFrame, a row for every trial: `request` (row of the input), `trial`, `n_bins`, `spikes`,
        counts as one list of units per bin, and what it was sampled for: conditions and covariates.
        """

        def load_context(self, context: PythonModelContext) -> None:
            """Load weights and config."""
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self.ldns = LDNS.load(context.artifacts["ldns"]).to(device)

        # Without the type of what it returns, a DataFrame, from which MLflow cannot make a signature.
        def predict(self, context: PythonModelContext, model_input: list[Row]):  # type: ignore[no-untyped-def, override]
            """Sample the trials that each row asks for. Raises ValueError for what cannot be sampled."""
            try:
                return sample_table(self.ldns, table, [dict(row) for row in model_input])
            except ValueError as error:
                raise RefusedRequest(str(error)) from error

    return SpikeSampler()


def sample_table(ldns: LDNS, table: Table, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The answer to rows: see `SpikeSampler`. Raises ValueError, before anything is sampled."""
    requests = table.read(rows)
    n_units = len(ldns.unit_names)
    # Before lengths are drawn for any number of trials.
    shortest = int(ldns.training.n_bins_S.min())
    _check_size(sum(r.n * (r.n_bins or shortest) for r in requests) * n_units)
    asked = []
    for i, request in enumerate(requests):
        with told_of(i):
            asked.append(_resolved(ldns, request))
    _check_size(sum(int(a.n_bins.sum()) for a in asked) * n_units)
    columns = {**table.condition_columns, **table.covariate_columns}
    out: list[dict[str, Any]] = []
    for i, request in enumerate(requests):
        samples = ldns.sample(**request.trials, **request.manner)
        for trial, spikes_TN in enumerate(samples.spikes):
            row = {"request": i, "trial": request.first_trial + trial, "n_bins": len(spikes_TN)}
            given = {k: x[trial].tolist() for k, x in samples.conditions.items()}
            traces = {k: x[trial].tolist() for k, x in samples.covariates.items()}
            out.append(
                row
                | {"spikes": spikes_TN.tolist()}
                | {table.condition_columns[k]: x[0] if len(x) == 1 else x for k, x in given.items()}
                | {table.covariate_columns[k]: x for k, x in traces.items()}
            )
    return pd.DataFrame(out, columns=["request", "trial", "n_bins", "spikes", *columns.values()])


def _resolved(ldns: LDNS, request: Request) -> Requests:
    """What each trial is sampled for. Raises ValueError for all that `LDNS.sample` would refuse."""
    sampler_named(request.sampler)
    check_guidance(request.guidance, ldns.denoiser, ldns.conditioning)
    if request.n_steps > ldns.noise.n_steps:
        raise ValueError(
            f"n_steps must be at most {ldns.noise.n_steps}, the steps of the schedule, got {request.n_steps}."
        )
    return ldns.requests(**request.trials)


def _check_size(n_counts: int) -> None:
    if n_counts > MAX_COUNTS:
        raise ValueError(
            f"An answer must hold at most {MAX_COUNTS:,} counts (trials × bins × units), got at least {n_counts:,}. "
            "Ask for fewer trials at a time, going on with first_trial, or sample into a dataset: "
            "python jobs/sample.py --help"
        )
