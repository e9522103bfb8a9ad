"""What every run says of itself: version, commit, who started it, and from what command."""

import contextlib
import getpass
import os
import shlex
import sys

from ldns_ray import __version__
from ldns_ray.redaction import without_secrets
from ldns_ray.revision import commit


def standard_tags() -> dict[str, str]:
    """Tags that MLflow knows, as far as this process can tell."""
    tags = {
        "ldns.version": __version__,
        "mlflow.source.name": sys.argv[0] or "python",
        "mlflow.source.type": "JOB" if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") else "LOCAL",
    }
    if commit():
        tags["mlflow.source.git.commit"] = commit()
    with contextlib.suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def command_line() -> str:
    """What this process was started with, to be pasted into a shell; passwords and keys are left out."""
    return shlex.join(["python", *map(without_secrets, sys.argv)])
