"""Which code runs: the commit that runs, stages and models are recorded with."""

import os
import subprocess
from pathlib import Path


def commit() -> str:
    """The commit of the checkout this package is tracked in, LDNS_COMMIT where it is set, or nothing.

    Copies, such as a Ray job's working directory, are told by LDNS_COMMIT.
    """
    stated = os.environ.get("LDNS_COMMIT")
    if stated:
        return stated
    here = Path(__file__).resolve()
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    return commit_of(here.parent) if tracked else ""


def commit_of(folder: Path) -> str:
    """The commit checked out in `folder`, or nothing."""
    return _git(folder, "rev-parse", "HEAD")


def _git(folder: Path, *words: str) -> str:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
    except OSError:  # no git here
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
