"""Datasets that several tests write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ldns_ray.data import shards
from ldns_ray.data.card import Card
from ldns_ray.data.schema import Trial, validate_trial


def ragged(n_trials: int = 30, seed: int = 0, full: bool = True) -> list[Trial]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 30, n_trials)
    return [
        Trial(
            spikes=rng.poisson(1.0, (n, 5)).astype(np.uint8),
            trial_id=f"t{i:03d}",
            session=f"day{i % 3}",
            split=("train", "train", "val")[i % 3],
            covariates={"vel": rng.normal(size=(n, 2)).astype(np.float32)} if full else {},
            conditions={"angle": rng.normal(size=2).astype(np.float32)} if full else {},
            latents=rng.normal(size=(n, 3)).astype(np.float32) if full else None,
            rates=rng.uniform(size=(n, 5)).astype(np.float32) if full else None,
        )
        for i, n in enumerate(lengths.tolist())
    ]


def in_order(trials: list[Trial]) -> list[Trial]:
    """What reading must give back: validated, ordered by trial id."""
    return sorted((validate_trial(trial) for trial in trials), key=lambda trial: trial.trial_id)


def wide(trial: Trial, count: int = 300) -> Trial:
    """The trial with one count that needs 16 bits."""
    spikes = trial.spikes.astype(np.uint16)
    spikes[0, 0] = count
    return replace(trial, spikes=spikes)


def write(trials: list[Trial], folder: str | os.PathLike[str], **options: object) -> Card:
    settings: dict[str, object] = {"name": "x", "bin_width_s": 0.01, **options}
    return shards.write_dataset(iter(trials), folder, **settings)  # type: ignore[arg-type]


def files(folder: Path) -> list[str]:
    """Names of what a local folder holds."""
    return sorted(path.name for path in folder.iterdir())


def named(card: Card) -> list[str]:
    """Names of what a folder with a dataset and nothing else holds."""
    return sorted(["dataset.json", *(shard["file"] for shard in card.shards)])


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Name -> time of the last change, and content, of the files of a local folder."""
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}


def assert_same(got: list[Trial], wanted: list[Trial]) -> None:
    assert [x.trial_id for x in got] == [x.trial_id for x in wanted]
    for a, b in zip(got, wanted, strict=True):
        assert (a.session, a.split) == (b.session, b.split)
        assert set(a.covariates) == set(b.covariates)
        assert set(a.conditions) == set(b.conditions)
        pairs = [(a.spikes, b.spikes), (a.rates, b.rates), (a.latents, b.latents)]
        pairs += [(a.covariates[k], b.covariates[k]) for k in b.covariates]
        pairs += [(a.conditions[k], b.conditions[k]) for k in b.conditions]
        for x, y in pairs:
            assert (x is None) == (y is None)
            if x is not None and y is not None:
                np.testing.assert_array_equal(x, y)
                assert x.dtype.kind == y.dtype.kind


def interrupted(trials: list[Trial], after: int) -> Iterator[Trial]:
    """So many trials, then a failure."""
    yield from trials[:after]
    raise RuntimeError("power cut")
