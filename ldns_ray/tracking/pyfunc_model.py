"""The code of a logged LDNS model: MLflow copies this file beside the weights and runs it to load them."""

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext


class SpikeSampler(PythonModel):
    """Draws spiking trials; each row of the input is a request, each row of the output a trial.

    Input columns, all optional: `n` trials (1), `length` in bins (drawn from the training split's),
    `seed` (0). Output columns: `request` (row of the input), `trial`, `n_bins`, and `spikes`, counts
    as one list of units per bin.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load weights and config."""
        from ldns_ray.models.ldns import LDNS

        self.ldns = LDNS.load(context.artifacts["ldns"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Sample the trials that each row asks for. Raises ValueError for impossible numbers."""
        if model_input.empty:
            raise ValueError("A request needs at least one of n, length and seed, got none.")
        rows: list[dict[str, Any]] = []
        for request, asked in enumerate(model_input.to_dict("records")):
            n, seed, length = int(asked.get("n", 1)), int(asked.get("seed", 0)), asked.get("length")
            for name, value, least in (("n", n, 1), ("length", length, 1), ("seed", seed, 0)):
                if value is not None and value < least:
                    raise ValueError(f"{name} must be at least {least}, got {value}.")
            n_bins = None if length is None else int(length)
            samples = self.ldns.sample(n, n_bins=n_bins, seed=seed)
            for trial, spikes_TN in enumerate(samples.spikes):
                rows.append(
                    {
                        "request": request,
                        "trial": trial,
                        "n_bins": len(spikes_TN),
                        "spikes": spikes_TN.tolist(),
                    }
                )
        return pd.DataFrame(rows, columns=["request", "trial", "n_bins", "spikes"])


mlflow.models.set_model(SpikeSampler())
