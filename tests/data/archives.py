"""A format for tests of what happens to the files of a recording: .npz archives, one array for each thing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldns_ray.archives import read_npz
from ldns_ray.data import shards
from ldns_ray.data.card import Card
from ldns_ray.data.ingestion.ingest import ingest
from ldns_ray.data.recordings import Recording
from ldns_ray.data.schema import Trial
from ldns_ray.data.splits import UNASSIGNED


@dataclass(frozen=True)
class ArchiveReader:
    """Trials of an archive with `spikes` (S, T, N); and (S,) `trial_id`, `session`, `split`, `stratum`,
    (S, d) `target`, (S, T, d) `vel`, (N,) `unit_names`, where it has them.

    min_count: trials with fewer spikes are dropped. log: a file in which each file read is noted.
    seconds: that each trial takes.
    """

    bin_width_s: float = 0.01
    min_count: int = 0
    log: str = ""
    seconds: float = 0.0

    def read(self, path: str) -> Recording:
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{Path(path).name}\n")
        try:
            arrays = read_npz(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        recording = Recording(
            iter(()),
            unit_names=arrays["unit_names"].tolist() if "unit_names" in arrays else (),
            covariate_units={"vel": "m/s"} if "vel" in arrays else {},
        )
        recording.trials = self._trials(arrays, recording.strata, recording.dropped)
        return recording

    def _trials(
        self, arrays: dict[str, np.ndarray], strata: list[str], dropped: Counter[str]
    ) -> Iterator[Trial]:
        for i, spikes in enumerate(arrays["spikes"]):
            if spikes.sum() < self.min_count:
                dropped["too quiet"] += 1
                continue
            if "stratum" in arrays:
                strata.append(str(arrays["stratum"][i]))
            if self.seconds:
                time.sleep(self.seconds)
            yield Trial(
                spikes=spikes,
                trial_id=str(arrays["trial_id"][i]) if "trial_id" in arrays else f"{i:03d}",
                session=str(arrays["session"][i]) if "session" in arrays else "",
                split=str(arrays["split"][i]) if "split" in arrays else UNASSIGNED,
                covariates={"vel": arrays["vel"][i]} if "vel" in arrays else {},
                conditions={"target": arrays["target"][i]} if "target" in arrays else {},
            )


def archive(path: Path, *, n_trials: int = 10, n_units: int = 4, seed: int = 0, **arrays) -> Path:
    """Write an archive of Poisson counts in 6 bins, with these arrays besides or instead."""
    rng = np.random.default_rng(seed)
    spikes = rng.poisson(1.0, (n_trials, 6, n_units)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{"spikes": spikes, **arrays})
    return path


def run(
    files: Sequence[Path | str], uri: Path | str, reader: ArchiveReader | None = None, **options
) -> Card:
    settings = {"name": "x", "parallel": False, **options}
    return ingest(files, reader or ArchiveReader(), uri, **settings)


def recordings(folder: Path, n_files: int, **options) -> list[Path]:
    return [archive(folder / f"day{i:02d}.npz", seed=i, **options) for i in range(n_files)]


def assert_alone(uri: Path) -> None:
    """There is nothing but the card and its shards."""
    named = {"dataset.json", *(shard["file"] for shard in shards.read_card(uri).shards)}
    assert {path.name for path in uri.iterdir()} == named


def reads(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []
