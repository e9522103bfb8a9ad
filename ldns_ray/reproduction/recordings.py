"""The recordings that results are about, and how they are read.

Recordings of other formats, those of the paper among them, are ingested with jobs/ingest.py, and given as datasets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ldns_ray import storage
from ldns_ray.config import Experiment
from ldns_ray.data.formats.arrays import ArrayReader
from ldns_ray.data.formats.specs import ArrayAngle, ValueSpec
from ldns_ray.data.ingestion.ingest import ingest
from ldns_ray.data.simulation.simulated import simulated_dataset

SEED = 42
"""Of the split into 60 % training, 20 % validation and 20 % test trials."""


@dataclass(frozen=True)
class Recording:
    """A file that a result can be made of."""

    name: str
    """Of the dataset."""
    file: str
    """What the file is called, for those who look for it."""
    reader: ArrayReader
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the experiment that this recording needs, unless others are given."""


PMD = ArrayReader(
    bin_ms=5, spikes="spikes_1ms", axes=("trial", "unit", "time"), angles=(ArrayAngle.parse("angle=target*45"),),
    stratify="target",
)  # fmt: skip
M1 = ArrayReader(
    bin_ms=50, sample_ms=50, spikes="counts", axes=("time", "unit"), trial_start="trial_start", trial_len="trial_len",
    covariates=(ValueSpec.parse("velocity=vel:a.u."),), angles=(ArrayAngle.parse("angle=target_deg[target]"),),
)  # fmt: skip

RECORDINGS = {
    "reach": Recording("pmd", "pmd_reach_plan_train.npz", PMD),
    "reach_angle": Recording(
        "pmd", "pmd_reach_plan_train.npz", PMD,
        # The target comes on 200 ms after a trial begins.
        {"evaluation.label": "target", "evaluation.decode_from_s": 0.2},
    ),
    # Bins ten times as long: what is as smooth in time differs ten times as much from bin to bin, a hundred times in its
    # square; and a history of so long bins, empty when a trial begins, does harm.
    "reach_velocity": Recording(
        "m1", "m1_reach_contdata95.npz", M1,
        {"observation.kind": "poisson", "autoencoder.smoothness_penalty": 0.002},
    ),
}  # fmt: skip
"""By result; macaque premotor cortex in delayed reaches, and motor cortex in reaches of all lengths."""


def settings_of(result: str, recording: str | None) -> dict[str, Any]:
    """The settings that a recording needs, by their dotted names; none without a recording."""
    if recording is None or result not in RECORDINGS:
        return {}
    return dict(RECORDINGS[result].settings)


def dataset_of(
    result: str, experiment: Experiment, root: str, *, data: str | None, recording: str | None
) -> str:
    """The URI of the dataset that a result is made of: what is given, ingested if it is a recording, else simulated.

    Raises ValueError where both are given, where neither is and the result is of a recording, and for a recording of
    a result that is simulated. FileNotFoundError for one that is not there.
    """
    if data is not None and recording is not None:
        raise ValueError(
            f"Give --data or --recording, not both; got {data} and {recording}. --recording is ingested first."
        )
    if data is not None:
        return data
    known = RECORDINGS.get(result)
    if known is None:
        if recording is not None:
            raise ValueError(
                f"{result} is simulated, got --recording {recording}. Leave it out, or ingest the recording with "
                "jobs/ingest.py and pass --data DATASET."
            )
        return simulated_dataset(experiment, root)
    if recording is None:
        raise ValueError(
            f"{result} needs a recording, got none. Pass --recording {known.file}, or any other as --data DATASET, "
            "made by jobs/ingest.py."
        )
    if not storage.exists(recording):
        raise FileNotFoundError(f"No recording {recording}. Give the path or URI of {known.file}.")
    digest = storage.digest(recording)
    uri = storage.join(root, "datasets", f"{known.name}-{digest[:16]}")
    ingest(
        [recording], known.reader, uri, name=known.name, fractions=(0.6, 0.2, 0.2), seed=SEED,
        source=storage.name_of(recording),
    )  # fmt: skip
    return uri
