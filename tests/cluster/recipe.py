"""The README's recipe for an MLflow server with PostgreSQL, S3 and users, to be carried out with other addresses."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping

from tests.cluster.hosts import ROOT


def _block() -> str:
    """The indented lines that start the server."""
    readme = (ROOT / "README.md").read_text()
    (found,) = re.findall(r"(?m)^    createdb .*\n(?:^    .*\n)*^    caddy .*\n", readme)
    return textwrap.dedent(found)


def server_command(values: Mapping[str, str]) -> list[str]:
    """The words of the recipe's `mlflow server`, with the values of these options in the place of its own."""
    (line,) = re.findall(r"(?m)^mlflow server (.*)$", _block().replace("\\\n", " "))
    words = shlex.split(line)
    for option, value in values.items():
        words[words.index(option) + 1] = value
    return words


def auth_file(database: str) -> str:
    """The recipe's `auth.ini`, with this address for the database of users."""
    (text,) = re.findall(r"cat > auth\.ini <<'END'\n(.*?)^END$", _block(), re.DOTALL | re.MULTILINE)
    changed, n = re.subn(r"(?m)^(database_uri = ).*$", rf"\g<1>{database}", text)
    assert n == 1
    return changed


def databases() -> list[str]:
    """Those that the recipe creates."""
    return re.findall(r"createdb (\w+)", _block())


def variables() -> set[str]:
    """The environment variables that the recipe sets."""
    return set(re.findall(r"(?:export|&& export) (MLFLOW_\w+)", _block()))
