"""Metrics on their way to the server: kept in memory and sent by a thread until they are stored."""

import atexit
import logging
import threading
import time
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric

from ldns_ray.tracking.patience import PATIENCE_S, StoreFullError, is_full, passes, reason

logger = logging.getLogger(__name__)

METRICS_PER_BATCH = 1000
# So many seconds of metrics go in one request.
INTERVAL_S = 0.5
PAUSE_S = 2.0
EXIT_LIMIT_S = 10.0


class Outbox:
    """The metrics of one run, in order. The thread starts with the first metric.

    client: one whose calls fail at once, since the thread has a patience without end. limit_s: how long `flush`
    waits for the server.

    A batch that may or may not have arrived is sent again as it was: the store keeps one of two
    metrics with equal key, step, time and value.
    """

    def __init__(self, client: MlflowClient, run_id: str, limit_s: float = PATIENCE_S) -> None:
        self._client = client
        self._run_id = run_id
        self._limit_s = limit_s
        self._pending: list[Metric] = []
        self._changed = threading.Condition()
        self._refused: Exception | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._hurry = False
        self._away = False

    def put(
        self,
        values: Mapping[str, float],
        step: int,
        model_id: str = "",
        dataset: tuple[str, str] | None = None,
        at: float | None = None,
    ) -> None:
        """Add metrics, of a logged model and measured on a dataset (name, fingerprint) where these are given.

        at: when they were measured, in Unix seconds; now by default.

        Never waits. Raises what the server answered when it refused earlier ones.
        """
        now = int((time.time() if at is None else at) * 1000)
        name, digest = dataset or (None, None)
        with self._changed:
            self._check()
            self._pending += [
                Metric(k, v, now, step, model_id or None, name, digest) for k, v in values.items()
            ]
            if self._thread is None and self._pending:
                self._closed = False
                self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
                self._thread.start()
                atexit.register(self._at_exit)
            self._changed.notify_all()

    def flush(self, limit_s: float | None = None) -> None:
        """Wait until everything is stored. Raises ConnectionError after `limit_s` seconds."""
        limit_s = self._limit_s if limit_s is None else limit_s
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._pending or self._refused, limit_s)
            self._hurry = False
            self._check()
            if not done:
                raise ConnectionError(
                    f"{len(self._pending)} metrics of run {self._run_id} were not stored: the MLflow "
                    f"server did not answer for {limit_s:.0f} s. Start it and submit again."
                )

    def close(self) -> None:
        """`flush`, then end the thread; a later `put` starts another."""
        try:
            self.flush()
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
                self._thread = None
            atexit.unregister(self._at_exit)

    def _check(self) -> None:
        if self._refused is not None:
            if is_full(self._refused):
                raise StoreFullError.of(
                    f"Metrics of run {self._run_id} were not stored"
                ) from self._refused
            raise RuntimeError(
                f"The MLflow server refused metrics of run {self._run_id}: {self._refused}"
            ) from self._refused

    def _at_exit(self) -> None:
        try:
            self.flush(EXIT_LIMIT_S)
        except StoreFullError:
            pass  # whatever else was to be stored has told of it
        except (ConnectionError, RuntimeError) as e:
            logger.error("%s", e)

    def _work(self) -> None:
        me = threading.current_thread()
        last = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                if self._closed or self._thread is not me:
                    return
                # Steps come quickly; one request takes several of them.
                wait = last + INTERVAL_S - time.monotonic()
                self._changed.wait_for(
                    lambda: self._hurry or len(self._pending) >= METRICS_PER_BATCH, max(wait, 0)
                )
                batch = self._pending[:METRICS_PER_BATCH]
            stored = self._send(batch)
            last = time.monotonic()
            with self._changed:
                if stored:
                    del self._pending[: len(batch)]
                self._changed.notify_all()
                if self._refused is not None:
                    return
                if not stored:
                    self._changed.wait_for(lambda: self._closed, PAUSE_S)

    def _send(self, batch: list[Metric]) -> bool:
        try:
            self._client.log_batch(self._run_id, metrics=batch)
        except Exception as e:
            if not passes(e):
                self._refused = e
            elif not self._away:
                self._away = True
                logger.warning(
                    "MLflow is away, metrics of run %s wait: %s", self._run_id, reason(e)
                )
            return False
        if self._away:
            self._away = False
            logger.warning("MLflow is back, metrics of run %s are sent", self._run_id)
        return True
