"""MLflow's own server in this process, on a store of its own, which can be told to fail."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from werkzeug.serving import make_server


class FaultyServer:
    """The server's application behind faults.

    requests: method and last word of the path of each request that came. failed: the words of faults that happened.
    """

    def __init__(self, application) -> None:
        self._application = application
        self._faults: list[tuple[str, str]] = []
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self.requests: list[tuple[str, str]] = []
        self.failed: list[str] = []

    def will(self, fault: str, word: str, times: int = 1) -> None:
        """For as many requests whose path contains `word`: `refuse` with an HTTP status, or `lose` the answer."""
        self._faults += [(fault, word)] * times

    def forget(self) -> None:
        """No faults to come, no requests seen."""
        for seen in (self._faults, self.requests, self.failed):
            seen.clear()

    def __call__(self, environ, start_response):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        self.requests.append((method, path.rpartition("/")[2]))
        fault = next((f for f in self._faults if f[1] in path), None)
        if fault is None:
            return self._application(environ, start_response)
        self._faults.remove(fault)
        what, word = fault
        self.failed.append(word)
        if what == "lose":
            b"".join(self._application(environ, lambda *_: None))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(f"{what} Fault", [("Content-Type", "text/html")])
        return [b"<html>"]

    @contextmanager
    def serving(self) -> "Iterator[FaultyServer]":
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@contextmanager
def mlflow_server(folder: Path) -> Iterator[FaultyServer]:
    """A server that keeps everything in `folder`. MLflow holds one store a process, so there is one at a time."""
    from mlflow import server
    from mlflow.server import handlers

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(server.BACKEND_STORE_URI_ENV_VAR, f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv(server.ARTIFACT_ROOT_ENV_VAR, "mlflow-artifacts:/")
        patch.setenv(server.ARTIFACTS_DESTINATION_ENV_VAR, str(folder / "mlartifacts"))
        patch.setenv(server.SERVE_ARTIFACTS_ENV_VAR, "true")
        for held in ("_tracking_store", "_model_registry_store", "_artifact_repo"):
            patch.setattr(handlers, held, None)
        with FaultyServer(server.app).serving() as running:
            yield running
