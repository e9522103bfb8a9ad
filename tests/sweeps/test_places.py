"""Trials at the same time on a cluster whose nodes come and go."""

from dataclasses import replace

import pytest
from ray.tune.search import ConcurrencyLimiter, Searcher

from ldns_ray.sweeps import budget, places
from ldns_ray.training import distributed
from tests.sweeps.planned import planned

HEAD = {}
NODE = {"CPU": 8.0, "GPU": 1.0}


class Counting(Searcher):
    """Suggests 0, 1, 2 and so on."""

    def __init__(self):
        super().__init__(metric="score", mode="min")
        self.n = 0

    def suggest(self, trial_id):
        self.n += 1
        return {"n": self.n - 1}

    def on_trial_complete(self, trial_id, result=None, error=False):
        pass

    def save(self, checkpoint_path):
        pass

    def restore(self, checkpoint_path):
        pass


@pytest.fixture
def plan(trained, tmp_path):
    return replace(planned(trained, tmp_path), gpus_per_trial=1)


@pytest.fixture
def nodes(monkeypatch):
    """The nodes of the cluster, a list that tests change."""
    alive = [HEAD]
    monkeypatch.setattr(
        budget.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in alive]
    )
    return alive


@pytest.fixture
def requests(monkeypatch):
    """What an autoscaler was asked for, oldest first; without one, a test that asks fails."""
    asked = []
    monkeypatch.setattr(places, "request_resources", lambda bundles: asked.append(bundles))
    return asked


@pytest.fixture
def autoscaler(monkeypatch):
    """A cluster that says that it has one, looked at without pauses."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setenv(places.WAIT, "20")
    monkeypatch.setattr(places, "LOOK_S", 0.0)


def test_a_cluster_without_autoscaler_is_taken_as_it_is(plan, nodes, requests, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.delenv(places.WAIT, raising=False)
    with (
        pytest.raises(ValueError, match=r"needs 1 CPUs and 1 GPUs .* have 0 CPUs and 0 GPUs\."),
        places.places(plan, 4, print),
    ):
        pass
    nodes += [NODE, NODE]
    with places.places(plan, 4, print) as room:
        assert (room.now, room.most) == (2, 2)
        limiter = room.limiting(Counting())
        assert [limiter.suggest(name) for name in "abc"] == [{"n": 0}, {"n": 1}, None]
        nodes.append(NODE)
        assert limiter.suggest("c") is None
    assert requests == []


def test_nodes_are_waited_for(plan, nodes, requests, autoscaler, monkeypatch):
    """The first look finds none, and after the second a node comes."""
    looks = iter([None, None, NODE])

    def sleep(seconds):
        node = next(looks)
        if node:
            nodes.append(node)

    monkeypatch.setattr(places.time, "sleep", sleep)
    said = []
    with places.places(plan, 3, said.append) as room:
        assert (room.now, room.most) == (1, 3)
        trial = {"CPU": 1.0, "GPU": 1.0}
        assert requests[0] == [{"CPU": 1.0}, trial, trial, trial]
        assert requests == [requests[0]] * 5
    assert requests[5:] == [[]]
    assert said[0].startswith("Sweep planned: waits for a node, up to 20 min (LDNS_AUTOSCALER_WAIT")
    assert "A trial needs 1 CPUs and 1 GPUs beside 1 CPU for data." in said[0]
    assert said[1].startswith("Sweep planned: 1 of 3 trials fit after 0 s")
    assert len(said) == 2


def test_a_node_that_never_comes_is_not_waited_for(plan, nodes, requests, autoscaler, monkeypatch):
    monkeypatch.setenv(places.WAIT, "0.001")
    with (
        pytest.raises(
            ValueError, match=r"1 GPUs beside .* have 0 CPUs .* added none .* 0\.001 min"
        ),
        places.places(plan, 3, print),
    ):
        pass
    assert requests[-1] == []
    assert len(requests) > 1


def test_trials_begin_as_nodes_come(plan, nodes, requests, autoscaler):
    nodes.append(NODE)
    with places.places(plan, 4, print) as room:
        limiter = room.limiting(Counting())
        assert isinstance(limiter, ConcurrencyLimiter)
        assert [limiter.suggest(name) for name in "ab"] == [{"n": 0}, None]
        nodes.extend([NODE, NODE])
        assert [limiter.suggest(name) for name in "bcd"] == [{"n": 1}, {"n": 2}, None]
        nodes.pop()
        limiter.on_trial_complete("a")
        assert limiter.suggest("d") is None  # two are left on two nodes
        assert requests[-1]
        nodes.extend([NODE, NODE, NODE])
        assert limiter.suggest("d") == {"n": 3}
        assert requests[-1] == []  # all that was wanted is there
        n = len(requests)
        nodes.clear()
        assert limiter.suggest("e") is None
    assert len(requests) == n


def test_nodes_are_asked_for_no_longer_than_waited_for(plan, nodes, requests, autoscaler):
    """A job that is killed later leaves no request behind."""
    nodes.append(NODE)
    with places.places(plan, 4, print) as room:
        assert requests[-1]
        room.until = 0.0
        assert room.look() == 1
        assert requests[-1] == []
        n = len(requests)
        nodes.append(NODE)
        assert room.look() == 2
        assert len(requests) == n


def test_the_cluster_is_looked_at_now_and_then(plan, nodes, requests, autoscaler, monkeypatch):
    nodes.append(NODE)
    with places.places(plan, 4, print) as room:
        monkeypatch.setattr(places, "LOOK_S", 1000.0)
        nodes.append(NODE)
        assert room.look() == 1
        room.looked -= 1000.0
        assert room.look() == 2


def test_no_more_is_asked_for_than_is_wanted(plan, nodes, requests, autoscaler):
    """A share of a worker each, GPUs only where there are some; as many as --max-concurrent, or as are missing."""
    nodes.append({"CPU": 64.0})
    shared = replace(plan, cpus_per_trial=3, gpus_per_trial=0, workers_per_trial=2)
    assert places.bundles(shared, 2) == [{"CPU": 1.0}] + 4 * [{"CPU": 1.5}]
    with places.places(replace(shared, max_concurrent=5), 100, print) as room:
        assert room.most == 5
    with places.places(replace(shared, max_concurrent=5), 2, print) as room:
        assert room.most == 2


@pytest.mark.parametrize(
    ("said", "address", "seconds"),
    [("20", "10.0.0.1:6379", 1200), ("0.5", "x:1", 30), ("", "x:1", 0), ("0", "x:1", 0), ("20", "", 0)],
)  # fmt: skip
def test_whoever_sets_the_cluster_up_says_how_long(said, address, seconds, monkeypatch):
    """A Ray of this process alone has no autoscaler."""
    monkeypatch.setenv(places.WAIT, said)
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert distributed.ray_is_shared() == bool(address)
    assert places.autoscaler_wait_s() == seconds


@pytest.mark.parametrize("said", ["soon", "-1", "nan", "inf"])
def test_what_is_no_time_is_refused(said, monkeypatch):
    monkeypatch.setenv(places.WAIT, said)
    with pytest.raises(ValueError, match=rf"LDNS_AUTOSCALER_WAIT_MIN must be .* got '{said}'"):
        places.autoscaler_wait_s()
