"""Passwords and keys, left out of whatever is told: lines, logs, cards, reports, runs in MLflow.

They come in addresses, `postgresql://me:PASSWORD@db` or `s3://bucket/path?access_key=…&secret_key=…`, which have to be
known to reach a place, and to nobody who reads where it is.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

_SCHEME = r"[a-z][a-z0-9+.-]{0,30}://"
_USER = re.compile(
    # Before the host. Keys of object stores may hold a slash, so what follows a colon is only a port if it reads so.
    rf"\b({_SCHEME})(?:[^\s/?#]*@|[^\s/?#@:]*:(?!\d*(?:\W|$))[^\s@]*@)+",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"((?:secret|token|password|passwd|pwd|signature|credentials?|authorization"
    r"|(?:access|secret|api|account|private|shared)[-_]?key(?:[-_]?id)?|[?&;](?:sig|key|code|pass|auth))\s*=\s*)"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s&;,\"']+)",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """`text` whose URIs have no user and password, and whose `token=…`, `secret_key=…` and the like no value."""
    return _SECRET.sub(r"\1…", _USER.sub(r"\1", text))


def redacted(value: Any) -> Any:
    """Mappings and sequences, such as JSON values, with `without_secrets` of every text in them; others as they are."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {redacted(key): redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


class _Discreet:
    """A stream of text that is written on `without_secrets`, and otherwise as it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(without_secrets(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def discreet() -> Iterator[None]:
    """What this process writes to stdout and stderr meanwhile, it writes `without_secrets`."""
    out: Any = _Discreet(sys.stdout)
    err: Any = _Discreet(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield
