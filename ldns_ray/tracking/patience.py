"""Waiting for a tracking server that is away: a call is made again until it answers, and what it makes is made once.

A server is away when it is being restarted, is too busy, or cannot be reached; a request that it refuses is an
error at once, and so is a local store whose disk is full. MLflow repeats requests on its own, blindly and for
minutes: `own_the_waiting` leaves that to us, because a request to make something, sent again after its answer was
lost, makes it twice.
"""

import functools
import logging
import os
import re
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import InvalidUrlException, MlflowException

from ldns_ray.redaction import without_secrets

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 600.0
PAUSES_S = (0.1, 0.5, 1.0, 2.0)
"""Between one try and the next; the last one from then on."""
TOLD_FROM_S = 30.0
"""A shorter patience ends in an error soon enough: its waiting is not announced."""

_NO_ANSWER = (
    ConnectionError,
    TimeoutError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,  # the connection broke within the answer
    requests.exceptions.RetryError,  # an answer 408, 429, 500, 502, 503 or 504
)


def own_the_waiting() -> None:
    """Have MLflow's HTTP calls fail at once instead of after minutes, unless the environment says otherwise.

    For the whole process: MLflow has no narrower setting. A number that the user has set stays; each of our tries
    then takes as long as that many of MLflow's.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


class StoreFullError(OSError):
    """A local store, whose disk has no room for what was to be stored."""

    @classmethod
    def of(cls, what: str) -> "StoreFullError":
        """what: was not done."""
        return cls(
            f"{what}: no space is left on the disk of the MLflow store. Make room there; the same command then does "
            "what is missing."
        )


def is_full(error: BaseException, handled: BaseException | None = None) -> bool:
    """Whether an error says that the disk of a SQLite store is full, which waiting would not change.

    handled: an error that was being handled when this one was raised, and is not one of its causes.
    """
    return any(
        isinstance(e, sqlite3.OperationalError) and "disk is full" in str(e)
        for e in _causes(error, handled)
    )


def passes(error: BaseException, handled: BaseException | None = None) -> bool:
    """Whether an error may be gone at the next try: no answer, a busy store, a server's own fault.

    handled: as in `is_full`.
    """
    if is_full(error, handled):
        return False
    status = _status(error)
    if status is not None:
        return status in (408, 429) or (status >= 500 and status != 501)
    chain = list(_causes(error, handled))
    if any(isinstance(e, ssl.SSLCertVerificationError | InvalidUrlException) for e in chain):
        return False
    return any(isinstance(e, _NO_ANSWER) for e in chain)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error stands for; None where there was no answer, or none that says."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code
    # INTERNAL_ERROR is also what MLflow calls everything that it has no word for, lost connections among them.
    if isinstance(error, MlflowException) and error.error_code != "INTERNAL_ERROR":
        return error.get_http_status_code()
    # A status that MLflow has no word for, from a proxy: only the text has it.
    said = re.search(r"failed with error code (\d{3}) ", str(error))
    return int(said[1]) if said and isinstance(error, MlflowException) else None


def reason(error: BaseException, handled: BaseException | None = None) -> str:
    """What is at the bottom of an error, such as `[Errno 111] Connection refused`, without passwords.

    handled: as in `is_full`.
    """
    return without_secrets(str(list(_causes(error, handled))[-1])).rstrip(".")


def _causes(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on, up to `handled`."""
    link: BaseException | None = error
    while link is not None and link is not handled:
        yield link
        link = link.__cause__ or link.__context__


class Patience:
    """How long calls to one server are made again.

    limit_s: seconds from a call's first failure. where: the server, as errors and the log name it.
    """

    def __init__(self, limit_s: float, where: str) -> None:
        self.limit_s = limit_s
        self.where = where
        self._telling = threading.Lock()
        self._told_away = False

    def wait_for(self, what: str, call: Callable[[], T]) -> T:
        """The result of `call`, which is made again while its failure is one that passes.

        `call` must be safe to make twice: see `make` for one that is not. A wait is told in the log once when it
        begins and once when it is over, however many calls wait. A single failure is not: a server closes
        connections that were idle.

        Raises ConnectionError when the patience is over, and at once what does not pass: StoreFullError for a disk.
        """
        began, tries, handled = 0.0, 0, sys.exception()
        while True:
            try:
                result = call()
            except Exception as error:
                if is_full(error, handled):
                    raise StoreFullError.of(f"{what} was not done") from error
                if not passes(error, handled):
                    raise
                now = time.monotonic()
                began = began or now
                pause = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
                tries += 1
                if now + pause - began > self.limit_s:
                    raise ConnectionError(
                        f"{what} was not done: the MLflow server at {self.where} did not answer for "
                        f"{self.limit_s:.0f} s: {reason(error, handled)}. Start it and submit again."
                    ) from error
                if tries > 1:
                    self._tell(f"is away; waiting for it up to {self.limit_s:.0f} s: {reason(error, handled)}", away=True)  # fmt: skip
                time.sleep(pause)
            else:
                if tries > 1:
                    self._tell(f"is back after {time.monotonic() - began:.0f} s", away=False)
                return result

    def _tell(self, what: str, *, away: bool) -> None:
        with self._telling:
            if away != self._told_away and self.limit_s >= TOLD_FROM_S:
                logger.warning("The MLflow server at %s %s", self.where, what)
                self._told_away = away

    def make(self, what: str, make: Callable[[], T], find: Callable[[], T | None]) -> T:
        """`wait_for` a call that makes something: after a failure, `find` is asked for it before it is made again.

        Exact where `find` sees all that the server has done. A request that the server only takes up after `find`
        has looked, because it hung meanwhile, is missed.
        """
        tried = False

        def attempt() -> T:
            nonlocal tried
            if tried and (found := find()) is not None:
                return found
            tried = True
            return make()

        return self.wait_for(what, attempt)


class Patient:
    """An object whose methods call a server, with patience: its methods and attributes, each call a `wait_for`.

    direct: the object itself, whose calls fail at once.
    """

    def __init__(self, direct: Any, patience: Patience) -> None:
        self.direct = direct
        self.patience = patience

    def __getattr__(self, name: str) -> Any:
        if name in ("direct", "patience"):  # not there yet, as while it is unpickled
            raise AttributeError(name)
        found = getattr(self.direct, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def patiently(*args: Any, **kwargs: Any) -> Any:
            return self.patience.wait_for(name, lambda: getattr(self.direct, name)(*args, **kwargs))

        return patiently


class PatientClient(Patient):
    """An `MlflowClient` with patience, for calls that may be made twice: all but those that make something.

    Of these it makes logged models and versions of registered models once, told by what was there before: exact
    unless another process makes one from the same source at the same time. Experiments are made by `connect`, runs
    by `Tracking.run`.
    """

    def __init__(self, direct: MlflowClient, patience: Patience) -> None:
        super().__init__(direct, patience)

    def create_logged_model(self, experiment_id: str, *, name: str, source_run_id: str, **about: Any) -> LoggedModel:  # fmt: skip
        """A logged model of a run; see `MlflowClient.create_logged_model`."""

        def there() -> dict[str, LoggedModel]:
            where = f"source_run_id = '{source_run_id}'"
            found = self.direct.search_logged_models([experiment_id], where)
            return {m.model_id: m for m in found if m.name == name}

        before = self.patience.wait_for("search_logged_models", there)
        return self.patience.make(
            "create_logged_model",
            lambda: self.direct.create_logged_model(
                experiment_id, name=name, source_run_id=source_run_id, **about
            ),
            lambda: next((m for i, m in there().items() if i not in before), None),
        )

    def create_model_version(self, name: str, source: str, **about: Any) -> ModelVersion:
        """A version of a registered model; see `MlflowClient.create_model_version`."""

        def there() -> dict[str, ModelVersion]:
            found = self.direct.search_model_versions(f"name = '{name}'")
            return {str(v.version): v for v in found}

        before = self.patience.wait_for("search_model_versions", there)
        return self.patience.make(
            "create_model_version",
            lambda: self.direct.create_model_version(name, source, **about),
            lambda: next((v for i, v in there().items() if i not in before), None),
        )
