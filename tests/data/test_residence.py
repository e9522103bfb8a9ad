"""What trials take in memory, and whether they are kept there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ldns_ray.data import residence
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.residence import TEXT_BYTES, Room, choose, trial_bytes
from ldns_ray.data.schema import Trial
from ldns_ray.data.streaming import Stream
from tests.data.datasets import ragged, write


@pytest.mark.parametrize("largest", [1, 1000])
def test_bytes_are_those_of_the_arrays(tmp_path: Path, largest: int) -> None:
    """Counts above 255 take two bytes, in every trial."""
    trials = [
        Trial(
            (np.arange(20 * 7) % 2 * (largest if i == 3 else 1)).reshape(20, 7),
            f"{i}", "s", "train" if i else "val",
            covariates={"vel": np.zeros((20, 2))}, conditions={"angle": np.zeros(3)}, latents=np.zeros((20, 4)),
        )
        for i in range(5)
    ]  # fmt: skip
    card = write(trials, tmp_path / "d")
    columns = ["spikes", "latents", "covariate:vel", "condition:angle"]
    loaded: TrialSet = Stream(tmp_path / "d", "train", columns).load()
    assert loaded.latents is not None
    arrays = [loaded.spikes, loaded.latents, loaded.covariates["vel"], loaded.conditions["angle"]]
    n_bytes = sum(array.nbytes for array in arrays)
    assert Stream(tmp_path / "d", "train", columns).n_bytes == n_bytes + 4 * TEXT_BYTES
    few = trial_bytes(tmp_path / "d", card, "train", ["latents"])
    assert few == 20 * 4 * 4 + TEXT_BYTES


def test_trials_are_kept_where_every_memory_is_large_enough() -> None:
    large, small = Room("this", 10e6, 20e6), Room("that", 30e6, 20e6)
    assert choose("auto", [large, large]).resident
    assert not choose("auto", [large, small]).resident
    assert choose("resident", [small]).resident
    assert not choose("streamed", [large]).resident
    assert str(choose("auto", [large, small])) == (
        "trials are streamed: 10.0 MB of 20.0 MB that trials may take of this; "
        "30.0 MB of 20.0 MB that trials may take of that"
    )
    assert "hardware.data=streamed" in str(choose("streamed", [large]))


def test_every_process_of_a_node_has_its_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nodes with 16, 4 and no CPUs: what the narrowest has, and of the widest what its processes take."""
    import ray

    cpus, stores = (16, 4, 0), (50e9, 10e9, 1e9)
    monkeypatch.setattr(
        ray, "nodes",
        lambda: [
            {"Alive": True, "Resources": {"CPU": c, "memory": 100e9, "object_store_memory": s}}
            for c, s in zip(cpus, stores, strict=True)
        ]
        + [{"Alive": False, "Resources": {"CPU": 1, "memory": 1, "object_store_memory": 1}}],
    )  # fmt: skip
    assert residence.object_store(1e9) == Room("a node's object store", 1e9, 3e9)
    each = residence.COPIES * 1e9
    assert residence.nodes(1e9, 8, 1, 0) == Room("a node's memory", 8 * each, 50e9)
    assert residence.nodes(1e9, 100, 2, 0).needed == 8 * each
    assert residence.nodes(1e9, 3, 32, 0).needed == each


def test_a_machine_with_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container may take what its limit leaves; memory of files that can be dropped counts as free."""
    monkeypatch.setattr(
        residence.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * 10**9)
    )
    monkeypatch.setattr(residence, "CONTROL_GROUP", tmp_path)
    assert residence.available_memory() == 8 * 10**9
    (tmp_path / "memory.current").write_text("3000000000\n")
    (tmp_path / "memory.stat").write_text("anon 2000000000\ninactive_file 1000000000\n")
    for limit, available in (("max", 8), ("6000000000", 4), ("1000000000", 0)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert residence.available_memory() == available * 10**9
    assert residence.this_machine(1, 3) == Room("the free memory", 3 * residence.COPIES, 0)


def test_a_dataset_in_memory_or_not(ray_session: None, tmp_path: Path) -> None:
    """The running cluster's store has 200 MB."""
    write(ragged(40), tmp_path / "d")
    n_bytes = Stream(tmp_path / "d", "train", ["spikes"]).n_bytes
    assert choose("auto", [residence.object_store(n_bytes), residence.nodes(n_bytes, 2, 1, 0)])
    assert residence.object_store(59e6).suffices
    assert not residence.object_store(61e6).suffices
