"""Whatever a card or a folder of someone else says, nothing outside the folder is opened."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ldns_ray.data import shards
from ldns_ray.data.card import find_card
from ldns_ray.data.passes import iter_trialsets
from ldns_ray.data.streaming import Stream
from tests.data.datasets import ragged, write

READERS: dict[str, Callable[[str], Any]] = {
    "find_card": find_card,
    "read_card": shards.read_card,
    "load_trialset": lambda uri: shards.load_trialset(uri, "train"),
    "load_trials": shards.load_trials,
    "read_dataset": lambda uri: shards.read_dataset(uri, "train"),
    "verify_dataset": shards.verify_dataset,
    "iter_trialsets": lambda uri: list(iter_trialsets(uri, None, [])),
    "stream": lambda uri: Stream(uri, "train", ["spikes"]).load(),
    "write_dataset": lambda uri: write(ragged(), uri),
}
JOBS = {
    "describe": lambda uri, out: [uri, "--no-plot"],
    "train": lambda uri, out: ["speech_small", "--data", uri, "--workers", 0, "--root", out],
    "evaluate": lambda uri, out: [uri, uri, "--root", out],
    "sweep_speech": lambda uri, out: ["--data", uri, "--root", out],
}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The folder `d` of a dataset, whose first shard lies beside it."""
    card = write(ragged(), tmp_path / "d")
    file = card.shards[0]["file"]
    shutil.move(tmp_path / "d" / file, tmp_path / file)
    return tmp_path / "d"


def point(folder: Path, way: str) -> None:
    """Let the dataset say that its first shard is the one beside the folder."""
    card = shards.read_card(folder)
    first, *others = card.shards
    outside = f"{folder.parent}/{first['file']}"
    name = {
        "../": f"../{first['file']}",
        "absolute": outside,
        "backslash": f"..\\{first['file']}",
        "encoded": f"%2e%2e%2f{first['file']}",
        "uri": f"file://{outside}",
        "nested": f"./x/../../{first['file']}",
    }[way]
    # Its checksum is right: whoever changes a card can make that, too.
    changed = replace(card, shards=[{**first, "file": name}, *others])
    (folder / "dataset.json").write_text(changed.to_json())


@pytest.mark.parametrize("way", ["../", "absolute", "backslash", "encoded", "uri", "nested"])
def test_names_that_lead_out_are_refused_by_every_reader(elsewhere: Path, way: str) -> None:
    point(elsewhere, way)
    for name, read in READERS.items():
        with pytest.raises(ValueError, match=r"shards\[0\].file must be a plain name") as refusal:
            read(str(elsewhere))
        assert str(elsewhere / "dataset.json") in str(refusal.value), name


@pytest.mark.parametrize("target", ["shard", "folder", "card", "chain"])
def test_links_that_lead_out_are_refused_by_every_reader(elsewhere: Path, target: str) -> None:
    file = shards.read_card(elsewhere).shards[0]["file"]
    outside = elsewhere.parent / file
    link = elsewhere / file
    if target == "shard":
        link.symlink_to(outside)
    elif target == "folder":
        (elsewhere / "up").symlink_to(elsewhere.parent)
        link.symlink_to(f"up/{file}")
    elif target == "chain":
        (elsewhere / "next").symlink_to(f"../{file}")
        link.symlink_to("next")
    else:
        shutil.move(outside, link)
        outside = elsewhere.parent / "dataset.json"
        shutil.move(elsewhere / "dataset.json", outside)
        link = elsewhere / "dataset.json"
        link.symlink_to(outside)
    for name, read in READERS.items():
        with pytest.raises(ValueError, match="must lie in its folder, got a link to ") as refusal:
            read(str(elsewhere))
        assert f"{link} must" in str(refusal.value), name
        assert os.path.realpath(outside) in str(refusal.value), name


@pytest.mark.parametrize("job_name", JOBS)
@pytest.mark.parametrize("way", ["../", "link"])
def test_jobs_refuse_both_in_a_line(
    elsewhere: Path, refuses: Callable[..., str], tmp_path: Path, way: str, job_name: str
) -> None:
    if way == "link":
        file = shards.read_card(elsewhere).shards[0]["file"]
        (elsewhere / file).symlink_to(elsewhere.parent / file)
    else:
        point(elsewhere, way)
    tracking = ["--tracking-uri", f"sqlite:///{tmp_path}/t.db"] if job_name != "describe" else []
    said = refuses(job_name, *JOBS[job_name](str(elsewhere), tmp_path / "out"), *tracking)
    assert ("must be a plain name" if way == "../" else "must lie in its folder") in said


def test_links_within_the_folder_and_to_it_are_followed(tmp_path: Path) -> None:
    card = write(ragged(), tmp_path / "d")
    file = card.shards[0]["file"]
    (tmp_path / "d" / "kept").mkdir()
    shutil.move(tmp_path / "d" / file, tmp_path / "d" / "kept" / file)
    (tmp_path / "d" / file).symlink_to(f"kept/{file}")
    (tmp_path / "e").symlink_to("d")
    assert shards.verify_dataset(tmp_path / "e") == card
    assert len(shards.load_trials(tmp_path / "e")) == card.n_trials
