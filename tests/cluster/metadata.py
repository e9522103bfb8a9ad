"""The metadata service of a spot instance, as far as notices go, for machines that have none."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Metadata:
    """Answers as https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html says.

    Who asks without a session's token is refused. asked: questions that were answered.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._tokens: set[str] = set()
        self._notice: dict[str, str] | None = None

    def announce(self, seconds: float) -> None:
        """The machine will be taken back after so many seconds, whole ones."""
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        self._notice = {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def put(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        seconds = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if path != "/latest/api/token" or not seconds.isdigit():
            return 400, ""
        token = secrets.token_urlsafe(24)
        self._tokens.add(token)
        return 200, token

    def get(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if headers.get("x-aws-ec2-metadata-token") not in self._tokens:
            return 401, ""
        if path != "/latest/meta-data/spot/instance-action" or self._notice is None:
            self.asked += 1
            return 404, "no such thing"
        return 200, json.dumps(self._notice)

    @contextlib.contextmanager
    def serving(self, address: str) -> Iterator[str]:
        """Serve on a thread of its own; the service's address."""
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def _headers(self) -> dict[str, str]:
                return {name.lower(): value for name, value in self.headers.items()}

            def do_PUT(self) -> None:
                self._answer(*metadata.put(self.path, self._headers()))

            def do_GET(self) -> None:
                self._answer(*metadata.get(self.path, self._headers()))

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer((address, 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"http://{address}:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()
