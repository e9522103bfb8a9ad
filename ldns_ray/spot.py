"""On a machine of the spot market: tell Ray that the machine will be taken back, as soon as the market says so.

    python -m ldns_ray.spot

Ray then starts nothing new on the machine's node, and gives what runs there a place elsewhere once the node is gone;
trainings save every epoch until then. Ends when Ray knows.

Amazon announces it two minutes before, to whoever asks the instance's metadata service:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

import argparse
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil
import requests

logger = logging.getLogger(__name__)

SERVICE = "http://169.254.169.254"
"""The metadata service, where every instance finds its own."""
EVERY_S = 5.0
TIMEOUT_S = 2.0
TELL_LIMIT_S = 30.0
SESSION_S = 60


def time_of_notice(service: str = SERVICE) -> datetime | None:
    """When this machine is taken back; None as long as nothing is said of it.

    Raises requests.RequestException where the service does not answer as it should.
    """
    session = requests.put(
        f"{service}/latest/api/token",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": str(SESSION_S)},
        timeout=TIMEOUT_S,
    )
    session.raise_for_status()
    answer = requests.get(
        f"{service}/latest/meta-data/spot/instance-action",
        headers={"X-aws-ec2-metadata-token": session.text},
        timeout=TIMEOUT_S,
    )
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    return datetime.fromisoformat(answer.json()["time"])


def tell_ray(seconds_left: float) -> None:
    """Tell the Ray of this machine that its node will be gone.

    Raises SubprocessError where Ray refuses or does not answer, ConnectionError or LookupError where there is none here.
    """
    command = [
        str(Path(sys.executable).parent / "ray"), "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message", "The spot market takes this machine back.",
        "--deadline-remaining-seconds", str(max(0, int(seconds_left))),
    ]  # fmt: skip
    for node in nodes_here():
        subprocess.run([*command, "--node-id", node], check=True, timeout=TELL_LIMIT_S)


def nodes_here() -> list[str]:
    """Ids of Ray's nodes on this machine. Raises LookupError where there are none, ConnectionError without Ray.

    By their addresses: left alone, `ray drain-node` may take the node of another machine for its own.
    """
    import ray

    with ray.init(
        os.environ.get("RAY_ADDRESS", "auto"), logging_level=logging.WARNING, log_to_driver=False
    ):
        nodes = [node for node in ray.nodes() if node["Alive"]]
    addresses = {a.address for some in psutil.net_if_addrs().values() for a in some}
    here = [node["NodeID"] for node in nodes if node["NodeManagerAddress"] in addresses]
    if not here:
        there = ", ".join(sorted(node["NodeManagerAddress"] for node in nodes))
        raise LookupError(f"no node of Ray on this machine, but at {there}")
    return here


def watch(
    service: str = SERVICE,
    every_s: float = EVERY_S,
    tell: Callable[[float], None] = tell_ray,
) -> None:
    """Ask every so often; once there is a notice, `tell` how many seconds are left, until it does not fail."""
    silent = False
    while True:
        try:
            at = time_of_notice(service)
            if silent:
                logger.warning("%s answers again.", service)
            silent = False
            if at is not None:
                logger.warning("This machine will be taken back at %s.", at.isoformat())
                tell((at - datetime.now(UTC)).total_seconds())
                return
        except requests.RequestException as error:
            if not silent:
                logger.warning("%s says nothing: %s. Asking on.", service, error)
            silent = True
        except Exception as error:  # whatever it is, there is nobody else to tell Ray
            logger.warning("Ray could not be told: %r. Trying on.", error)
        time.sleep(every_s)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Tell Ray when this spot machine will be taken back."
    )
    parser.add_argument("--service", default=SERVICE, help=f"metadata service (default: {SERVICE})")
    parser.add_argument("--every", type=float, default=EVERY_S, metavar="S",
                        help=f"seconds between two questions (default: {EVERY_S:g})")  # fmt: skip
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    watch(options.service, options.every)


if __name__ == "__main__":
    main()
