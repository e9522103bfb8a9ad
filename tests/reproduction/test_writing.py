"""What a result looks like on paper."""

import json

from ldns_ray import storage
from ldns_ray.reproduction.found import Found, Table
from ldns_ray.reproduction.writing import About, table_text, took, write

ABOUT = About(
    title="lorenz_small", command="python jobs/reproduce.py lorenz --small", machine="2 cores of an abacus",
    data={"name": "lorenz", "fingerprint": "abc", "uri": "d", "units": 8, "splits": {"train": 5, "test": 2}},
    settings={"seed": 1, "autoencoder.width": 8}, changed={"autoencoder.width": 8},
    seconds={"autoencoder": 300.0, "diffusion": 600.0, "recovery": 60.0},
)  # fmt: skip


def test_a_table_as_markdown():
    table = Table("Title.", ["", "r"], [["mean ISI", "0.9"], ["a | b", "–"]])
    assert table_text(table).splitlines() == [
        "|  | r |", "|---|---|", "| mean ISI | 0.9 |", "| a \\| b | – |"
    ]  # fmt: skip


def test_durations_are_told_by_what_took_long():
    assert took(ABOUT.seconds) == "16 min (autoencoder 5 min, diffusion 10 min)"
    assert took({"recovery": 5.0}) == "5 s"


def test_everything_is_in_one_folder(tmp_path):
    picture, report = str(tmp_path / "a" / "isi.png"), str(tmp_path / "a" / "report.html")
    storage.write_bytes(picture, b"picture")
    storage.write_bytes(report, b"report")
    found = Found(
        {"r": 0.5}, {"r": 0.5}, [Table("Correlations.", ["", "r"], [["ISI", "0.5"]])], ["It agrees."],
        {"isi": picture}, report,
    )  # fmt: skip
    out = tmp_path / "out"
    assert write(str(out), found, ABOUT) == {"plots": ["isi"]}
    assert (out / "plots" / "isi.png").read_bytes() == b"picture"
    assert (out / "report.html").read_bytes() == b"report"
    content = json.loads((out / "reproduction.json").read_text())
    assert content["found"] == {"r": 0.5}
    assert content["tables"][0]["rows"] == [["ISI", "0.5"]]
    assert content["machine"] == "2 cores of an abacus"
    text = (out / "RESULTS.md").read_text()
    assert text.startswith("### lorenz_small\n\n`python jobs/reproduce.py lorenz --small`, 2 cores of an abacus, 20")  # fmt: skip
    assert content["date"] in text
    assert content["commit"][:10] in text
    assert "Data: lorenz (abc), 8 units, trials: 5 train, 2 test. Settings: `autoencoder.width=8`." in text  # fmt: skip
    assert "| ISI | 0.5 |\n\nIt agrees.\n" in text
