"""Which of the processes that train the same network counts: the one that began last.

A process that was cut off from the network, and was taken for dead, trains on. Back on it, it must neither overwrite
what another has saved that was begun in its place, nor tell of epochs that this one has done again.
"""

import uuid

from ldns_ray import storage
from ldns_ray.cli import JobError

FILE = "attempt"


class SupersededError(JobError):
    """Another process trains the same, and began later."""


class Attempt:
    """A process that begins to train what lies in a folder; those that began before it count no more."""

    def __init__(self, output_uri: str) -> None:
        self._folder, self._key = output_uri, uuid.uuid4().hex
        storage.write_bytes(self._uri, self._key.encode())

    @property
    def _uri(self) -> str:
        return storage.join(self._folder, FILE)

    def check(self) -> None:
        """Raises SupersededError unless this is the last that began, and has not ended."""
        try:
            last = storage.read_bytes(self._uri).decode()
        except FileNotFoundError:
            last = ""
        if last != self._key:
            raise SupersededError(
                f"Another process trains {self._folder}, and began later. Wait for it; should it die, submit again."
            )

    def end(self) -> None:
        """It is trained: none of those that began before is to write any more."""
        self.check()
        storage.remove_file(self._uri)
