"""What has been made for a result, beyond the stages of its experiments, under the storage root.

A step is a function of what its key says. Its output lives in `<root>/reproduction/<fingerprint>/` and is complete when
`step.json`, written last and atomically, is there: a finished step is not done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ldns_ray import storage
from ldns_ray.durations import duration
from ldns_ray.redaction import redacted
from ldns_ray.revision import commit
from ldns_ray.settings import fingerprint

FOLDER, RECORD = "reproduction", "step.json"

VERSION = 1
"""Raise it when the same steps give other results: what is stored is then made anew."""


@dataclass(frozen=True)
class Step:
    """A finished step."""

    uri: str
    summary: dict[str, Any]
    """JSON values."""
    seconds: float
    """That it took when it was done."""


@dataclass(frozen=True)
class Steps:
    """The steps under a storage root."""

    root: str
    say: Callable[[str], None]

    def uri(self, name: str, *key: Any) -> str:
        """Where the output of a step is or will be. key: configs or JSON values."""
        return storage.join(self.root, FOLDER, fingerprint(name, VERSION, *key))

    def once(self, name: str, *key: Any, work: Callable[[str], dict[str, Any]]) -> Step:
        """Do a step unless it is done: `work(uri)` writes what it likes there and returns its summary, JSON values."""
        uri = self.uri(name, *key)
        record_uri = storage.join(uri, RECORD)
        done = storage.exists(record_uri)
        if not done:
            self.say(f"{name} …")
            started = time.time()
            record = {"step": name, "commit": commit(), "started": started, "summary": work(uri)}
            record["seconds"] = time.time() - started
            storage.write_bytes(record_uri, json.dumps(redacted(record), indent=1).encode())
        # Read in any case, so that a step says the same when it is done and when it is found.
        record = json.loads(storage.read_bytes(record_uri))
        took = duration(record["seconds"])
        self.say(f"{name}: already done" if done else f"{name}: done in {took}")
        return Step(uri, record["summary"], record["seconds"])
