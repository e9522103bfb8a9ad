"""What jobs have in common: their parsers and options, and how they end: quietly, or with one line of error."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from ldns_ray.redaction import discreet

USER_ERROR = 2
SIGPIPE = 141
"""How shells tell of a program that lost its reader."""


class JobError(RuntimeError):
    """What a job could not do, told in one line."""


USER_ERRORS = (ValueError, OSError, FloatingPointError, JobError)


def run(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Call `main` with the command line, then exit.

    A ValueError, an OSError (missing or existing files, connections), a FloatingPointError (training
    that diverged) or a JobError ends as one line `error: …` on stderr and exit status 2; with
    LDNS_DEBUG=1 the traceback is shown instead, as it is of any other error, and the status is 1.

    Whatever is printed, errors and tracebacks too, is printed without passwords and keys.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # It prints the traceback of an error that it then raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with discreet():
        try:
            sys.exit(main(sys.argv[1:]))
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _unread():
                sys.exit(SIGPIPE)
            if os.environ.get("LDNS_DEBUG") == "1" or not isinstance(error, USER_ERRORS):
                traceback.print_exc()  # here, for the interpreter would print all of it
                sys.exit(1)
            sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
            sys.exit(USER_ERROR)
        except KeyboardInterrupt:
            sys.stderr.write("error: interrupted\n")
            sys.exit(130)
        finally:
            gc.freeze()  # else the interpreter walks all objects once more before it ends, for a second or two


def _unread() -> bool:
    """Whether nobody reads the output any more, as after `| head`; it then goes nowhere."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def job_parser(doc: str | None, examples: str = "") -> argparse.ArgumentParser:
    """A parser that describes a job by its module's docstring and, as they are written, examples."""
    kind = argparse.RawDescriptionHelpFormatter if examples else argparse.HelpFormatter
    return argparse.ArgumentParser(description=doc, epilog=examples or None, formatter_class=kind)


def add_root(parser: argparse.ArgumentParser) -> None:
    """The option that says where everything is kept."""
    parser.add_argument(
        "--root",
        help="folder or URI for everything that is made (default: LDNS_ROOT, else ./results)",
    )


def default_root(root: str | None) -> str:
    """The storage root: as given, else LDNS_ROOT, else ./results; an absolute path or a URI."""
    chosen = root or os.environ.get("LDNS_ROOT") or "results"
    return chosen if "://" in chosen else os.path.abspath(os.path.expanduser(chosen))


def add_tracking(parser: argparse.ArgumentParser) -> None:
    """The option that says which MLflow store to write to."""
    parser.add_argument(
        "--tracking-uri",
        help="MLflow server (default: MLFLOW_TRACKING_URI, else a SQLite store under the root)",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option that says which dataset an experiment takes."""
    parser.add_argument(
        "--data", help="dataset made by jobs/ingest.py (default: what the experiment simulates)"
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The options that say on what trainings run: `workers`, `gpus_per_worker`, `cpus_per_worker`."""
    parser.add_argument("--workers", type=int, default=1,
                        help="Ray Train workers; 0 trains in this process, without Ray (default: 1)")  # fmt: skip
    parser.add_argument(
        "--gpus-per-worker", type=float, default=0.0, help="GPUs of each worker (default: 0)"
    )
    parser.add_argument(
        "--cpus-per-worker",
        type=float,
        default=0.0,
        help="CPUs of each worker (default: automatic)",
    )


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """The options that say where a dataset goes, and whether another may be there."""
    parser.add_argument("--out", required=True, help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset that is there")


def add_seed(parser: argparse.ArgumentParser, what: str, default: int = 0) -> None:
    """The option that says what random draws follow from."""
    parser.add_argument("--seed", type=int, default=default, help=f"{what} (default: {default})")
