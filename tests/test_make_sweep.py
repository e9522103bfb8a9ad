"""`make sweep` as a newcomer types it: services, sweep, table, address; again at once; stopped without a trace."""

import re
import urllib.request

import psutil
import pytest

from ldns_ray import local, services
from tests.making import SMALL, make


@pytest.mark.slow
def test_make_sweep_twice_and_stop(made):
    root, token, first = made.root, made.token, made.out
    assert "Traceback" not in first
    lines = first.splitlines()
    table = [i for i, line in enumerate(lines) if line.startswith("trial   ")]
    assert len(table) == 2, "settings and metrics do not fit one"
    for header in table:
        assert {line.split("  ")[0] for line in lines[header + 2 : header + 4]} == {
            "trial 1",
            "trial 2",
        }
    assert lines[table[0]].split()[:2] == ["trial", "score"]
    assert lines[table[1]].endswith("RMSE sd ISI (s)")
    assert max(map(len, lines[table[0] : table[1] + 4])) <= 120
    assert "beside the test split" in first
    assert "PSTH + Poisson" in first
    url = re.search(r"^Results: .* and (http://\S+)$", first, re.M)[1]
    assert urllib.request.urlopen(url.partition("#")[0], timeout=10).status == 200
    assert local.status(root) == {"mlflow": True, "ray": True}

    second, seconds = make("sweep", root, token, args=SMALL)
    assert seconds <= 90
    assert "every trial is done" in second
    assert "started in" not in second
    tables = [text[text.index("Trials, best first") :] for text in (first, second)]
    assert tables[0] == tables[1]

    members = [
        p for service in services.read_services(root).values() for p in services._members(service)
    ]
    assert len(members) > 3
    stopped, _ = make("stop", root, token)
    assert stopped.count("stopped") == 2
    assert not psutil.wait_procs(members, timeout=5)[1]
    assert services.read_services(root) == {}
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url.partition("#")[0], timeout=5)
