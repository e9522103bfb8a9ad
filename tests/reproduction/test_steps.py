"""Steps are done once, and only those that were finished."""

from pathlib import Path

import pytest

from ldns_ray.config import Evaluation
from ldns_ray.reproduction.steps import Steps


@pytest.fixture
def said():
    return []


@pytest.fixture
def steps(said, tmp_path):
    return Steps(str(tmp_path), said.append)


def test_what_is_done_is_found(steps, said):
    calls = []

    def work(uri):
        calls.append(uri)
        return {"x": 0.1 + 0.2, "names": ["a"]}

    first = steps.once("count", 1, Evaluation(), work=work)
    again = steps.once("count", 1, Evaluation(), work=work)
    assert calls == [first.uri]
    assert again == first
    assert first.summary == {"x": 0.1 + 0.2, "names": ["a"]}
    assert [line.split(":")[-1].strip() for line in said] == [
        "count …",
        "done in 0 s",
        "already done",
    ]
    assert (Path(first.uri) / "step.json").exists()
    assert Path(first.uri).parent.name == "reproduction"


def test_another_key_is_another_step(steps):
    def work(uri):
        return {"uri": uri}

    keys = [("a", 1), ("a", 2), ("b", 1), ("a", 1, Evaluation()), ("a", 1, Evaluation(seed=1))]
    assert len({steps.once(*key, work=work).uri for key in keys}) == len(keys)


def test_an_interrupted_step_is_done_again(steps, tmp_path):
    def fails(uri):
        (tmp_path / "half").write_text(uri)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steps.once("step", work=fails)
    assert not Path(steps.uri("step"), "step.json").exists()
    assert steps.once("step", work=lambda uri: {"done": True}).summary == {"done": True}


def test_the_record_is_written_after_the_work(steps):
    seen = []

    def work(uri):
        seen.append(Path(uri, "step.json").exists())
        return {}

    steps.once("step", work=work)
    assert seen == [False]
