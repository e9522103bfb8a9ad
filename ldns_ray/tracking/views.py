"""A list of runs as the MLflow UI shows it: its columns, order and filter."""

import json
import re
from collections.abc import Sequence

TAG = "mlflow.sharedViewState."
"""The UI lists an experiment's tags of this prefix under "Views"; a key in the address opens one of them."""
MODELS_FIRST = "workflowType=machine_learning"
"""Without it the UI opens on pages for language models, where runs and models have other names."""


def key(name: str) -> str:
    """What a view is called in an address: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def best_first(
    name: str, sort_by: str, metrics: Sequence[str], settings: Sequence[str], where: str, made_ms: int
) -> str:  # fmt: skip
    """The value of a view's tag: runs that pass the filter `where`, lowest metric `sort_by` first.

    The columns are the dataset, the metrics and the settings, in this order.
    """
    columns = ["attributes.`Dataset`", *(f"metrics.`{m}`" for m in metrics)]
    columns += [f"params.`{s}`" for s in settings]
    state = {
        "orderByKey": f"metrics.`{sort_by}`",
        "orderByAsc": True,
        "searchFilter": where,
        "selectedColumns": columns,
        "columnOrder": columns,
    }
    return json.dumps({"name": name, "createdAt": made_ms, "state": json.dumps(state)})
