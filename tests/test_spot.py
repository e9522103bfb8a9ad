"""A spot machine's notice reaches Ray, whatever fails on the way. With a real Ray: tests/cluster/test_training_faults.py."""

import logging
import subprocess

import pytest
import requests

from ldns_ray import spot
from tests.cluster.metadata import Metadata


@pytest.fixture
def metadata():
    return Metadata()


@pytest.fixture
def service(metadata):
    with metadata.serving("127.0.0.1") as address:
        yield address


def test_no_notice_is_none(service, metadata):
    assert spot.time_of_notice(service) is None
    assert metadata.asked == 1


def test_a_notice_is_told_with_the_seconds_that_are_left(service, metadata):
    told = []
    metadata.announce(120)
    spot.watch(service, 0.01, told.append)
    (seconds,) = told
    assert 115 < seconds <= 120


def test_it_is_told_when_it_comes(service, metadata):
    """Not before, and once."""
    told = []

    def tell(seconds):
        assert metadata.asked >= 3
        told.append(seconds)

    question = metadata.get

    def third_time(path, headers):
        if metadata.asked == 3:
            metadata.announce(30)
        return question(path, headers)

    metadata.get = third_time
    spot.watch(service, 0.01, tell)
    assert len(told) == 1


def test_ray_is_told_until_it_has_heard(service, metadata, caplog):
    tries = []

    def tell(seconds):
        tries.append(seconds)
        if len(tries) < 3:
            raise subprocess.CalledProcessError(1, "ray")

    metadata.announce(60)
    spot.watch(service, 0.01, tell)
    assert len(tries) == 3
    assert caplog.text.count("Ray could not be told") == 2


def test_a_service_that_is_away_is_asked_again(service, metadata, monkeypatch, caplog):
    """What is wrong is told once, and that it is over."""
    asked = []
    answer = spot.time_of_notice

    def away_at_first(address):
        asked.append(address)
        if len(asked) < 4:
            raise requests.ConnectionError("no route")
        return answer(address)

    monkeypatch.setattr(spot, "time_of_notice", away_at_first)
    metadata.announce(60)
    told = []
    with caplog.at_level(logging.WARNING):
        spot.watch(service, 0.01, told.append)
    assert len(told) == 1
    assert caplog.text.count("says nothing") == 1
    assert caplog.text.count("answers again") == 1


def test_who_does_not_speak_as_the_service_is_an_error(metadata):
    """Its answers need a session's token, which spot asks for first."""
    with metadata.serving("127.0.0.1") as address:
        assert requests.get(f"{address}/latest/meta-data/spot/instance-action").status_code == 401
    with pytest.raises(requests.RequestException):
        spot.time_of_notice(address)
