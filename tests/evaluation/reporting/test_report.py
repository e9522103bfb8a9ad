"""A report is one well-formed page that holds all it was given, and nothing from elsewhere."""

import base64
import hashlib
import math
import struct
from dataclasses import replace

import pytest

from ldns_ray.evaluation.catalogue import METRICS
from ldns_ray.evaluation.reporting.report import render
from tests.evaluation.reporting.examples import (
    bare,
    card,
    measured,
    read,
    report,
    row,
    without_intervals,
)

HOSTILE = "<script>alert({})</script>\"'&<!--"


def sections(page):
    return [s.attributes["id"] for s in page.all("section")]


def section(page, name):
    return page.one("section", id=name)


@pytest.fixture(scope="module")
def whole():
    return report()


@pytest.fixture(scope="module")
def page(whole):
    return read(render(whole))


def test_ids_are_unique_and_links_lead_to_them(page):
    ids = [n.attributes["id"] for n in page.all() if "id" in n.attributes]
    links = [a.attributes["href"] for a in page.all("a")]
    assert len(set(ids)) == len(ids)
    assert set(links) <= {f"#{i}" for i in ids}
    assert [a.attributes["href"] for a in page.one("nav").all("a")] == [f"#{s}" for s in sections(page)]  # fmt: skip


def test_parts_come_in_the_order_in_which_they_are_read(page):
    assert sections(page) == [
        "result", "further-metrics", "table-likelihood", "pictures", "datasets", "settings", "provenance", "command",
        "reading",
    ]  # fmt: skip
    result = section(page, "result")
    order = [n.attributes.get("class") or n.tag for n in result.children]
    assert order == ["h2", "verdict", "warnings", "scroll", "legend", "figure"]


def test_nothing_is_loaded_from_anywhere(whole):
    text = render(whole)
    page = read(text)
    for node in page.all():
        assert node.tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name, value in node.attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data", "background", "poster"):
                assert value.startswith(("data:image/png;base64,", "#"))
    style = page.one("style").text
    assert "url(" not in style
    assert "@import" not in style
    script = "".join(page.one("script").children)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"  # fmt: skip
    assert "https://doi.org/10.1038/nature04968" in section(page, "datasets").text


def test_pictures_hold_the_files_that_were_given(whole, page):
    images = page.all("img")
    shown = [base64.b64decode(i.attributes["src"].partition(",")[2]) for i in images]
    assert shown == list(whole.figures.values())
    sizes = [(int(i.attributes["width"]), int(i.attributes["height"])) for i in images]
    assert sizes == [struct.unpack(">II", png[16:24]) for png in shown]
    assert [w > h for w, h in sizes] == [True, False, False]
    assert all(i.attributes["alt"] for i in images)
    titles = [f.one("h3").text for f in page.all("figure")]
    assert titles == ["Overview", "Rasters", "Population counts"]
    assert [len(f.all("figcaption")) for f in page.all("figure")] == [0, 1, 0]
    assert page.one("figcaption").text == "Three trials each."
    assert [f.attributes["id"] for f in page.all("figure")] == ["overview", "picture-rasters", "picture-population-counts"]  # fmt: skip


def test_tables_say_what_their_heads_are_of(page):
    assert page.all("table")
    for table in page.all("table"):
        for head in table.all("th"):
            assert head.attributes["scope"] in ("row", "col")


def test_whatever_stands_in_a_text_stays_text(whole):
    given = []

    def evil(where):
        given.append(where)
        return HOSTILE.format(where)

    dataset = card(
        evil("dataset"), source=evil("source"), citation=evil("citation"), licence=evil("licence"),
        fingerprint=evil("fingerprint"), warnings=[evil("card warning")],
        splits={evil("split"): {"n_trials": 1, "n_bins": 4}},
        covariates={evil("covariate"): {"size": 1, "unit": evil("unit")}},
        conditions={evil("condition"): {"size": 1, "unit": ""}},
    )  # fmt: skip
    role, figure, changed, metric = map(evil, ("role", "figure", "changed", "metric"))
    hostile = replace(
        whole,
        title=evil("title"),
        rows=[row(evil("row"), metrics={**row().metrics, metric: measured(1.0, 2.0)}), row(evil("other"))],
        reference=evil("reference"),
        warnings=[evil("warning")],
        figures={figure: whole.figures["rasters"]},
        captions={figure: evil("caption")},
        tables={evil("table"): [{evil("column"): evil("cell")}]},
        datasets={role: dataset},
        dataset_uris={role: evil("uri")},
        settings={changed: evil("value"), evil("setting"): [evil("item")]},
        changed=[changed],
        command=evil("command"),
        provenance={evil("key"): evil("provenance")},
    )  # fmt: skip
    page = read(render(hostile))
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for node in page.all() for name in node.attributes)
    for where in given:
        assert HOSTILE.format(where) in page.one("body").text, where


def test_secrets_are_shown_nowhere(whole):
    uri = "s3://KEYID:HUSH/1@lab/pmd?secret_key=HUSH2&scheme=http"
    text = render(
        replace(
            whole,
            title=uri,
            reference=uri,
            warnings=[uri],
            tables={uri: [{uri: uri}]},
            datasets={"real": card(source=uri, citation=uri, licence=uri, name=uri, warnings=[uri])},
            dataset_uris={"real": uri},
            captions={"rasters": uri},
            settings={"hardware.root": uri},
            changed=[],
            command=f"AWS_SECRET_ACCESS_KEY=HUSH3 python jobs/evaluate.py {uri}",
            provenance={"Model": uri},
        )
    )  # fmt: skip
    assert "HUSH" not in text
    assert "KEYID" not in text
    lies = section(read(text), "datasets").all("code")[-1].text
    assert lies == "s3://lab/pmd?secret_key=…&scheme=http"


def test_empty_parts_leave_no_section():
    page = read(render(bare()))
    assert sections(page) == ["result", "further-metrics", "reading"]
    for name in ("warnings", "reference"):
        assert not page.all(class_=name)
    assert not page.all("figure")
    only = row(metrics={"kl_psc": row().metrics["kl_psc"]})
    assert sections(read(render(bare(only)))) == ["result", "reading"]


def test_tables_without_records_leave_no_section():
    assert sections(read(render(replace(bare(), tables={"Novelty": []})))) == sections(read(render(bare())))  # fmt: skip


def test_an_overview_alone_makes_no_section_of_pictures(whole):
    only = replace(bare(), figures={"overview": whole.figures["overview"]})
    assert "pictures" not in sections(read(render(only)))


def verdict(*rows):
    return read(render(bare(*rows))).one("div", class_="verdict").text


def test_the_verdict_tells_the_score_and_the_best_other():
    best = row("PSTH + Poisson", 2.68, relative_score=2.23, relative_interval=(1.71, 2.94))
    said = verdict(row(), row("far", 9.0), best)
    assert "LDNS. Score 1.20 (95 % interval 1.05–1.41): 1 is as close as the data is to itself" in said  # fmt: skip
    assert "Worst is RMSE sd ISI, 1.67 times its floor." in said
    assert said.endswith(
        "Best of the 2 others: PSTH + Poisson, 2.68, 2.23 times that of LDNS (95 % interval 1.71–2.94, "
        "which is more than chance)."
    )
    assert "includes 1" not in said


def test_the_verdict_tells_what_the_intervals_allow():
    assert "The interval includes 1" in verdict(row(score=1.05))
    assert "Closer than the data is to itself" in verdict(row(score=0.5))
    close = row("b", 1.3, relative_score=1.08, relative_interval=(0.9, 1.3))
    assert verdict(row(), close).endswith("(95 % interval 0.90–1.30, which may be chance).")
    alone = row("b", 1.3, relative_score=1.08)
    assert verdict(row(), alone).endswith("b, 1.30, 1.08 times that of LDNS.")
    said = verdict(without_intervals(row()), without_intervals(row("b", 1.3)))
    assert "(no interval was computed)" in said
    assert said.endswith("The other candidate: b, 1.30.")
    few = replace(row("few", 1.01), size=3)
    assert "few" not in verdict(row(), few)
    assert "The other candidate: b" in verdict(row(), few, row("b", 1.3))


@pytest.mark.parametrize(
    ("n", "told"),
    [(1, "1 unit of the reference is silent"), (3, "3 units of the reference are silent")],
)
def test_the_verdict_tells_of_silent_units(n, told):
    assert told in verdict(row(n_silent=n))
    assert "silent" not in verdict(row())


def test_one_row_and_eight():
    for n in (1, 8):
        page = read(render(bare(*(row(f"m{i}", 1.0 + i) for i in range(n)))))
        table = section(page, "result").one("table")
        assert len(table.all("tr")) == 1 + n
        assert len(section(page, "further-metrics").all("th", scope="col")) == 1 + n


def test_cards_tell_what_a_dataset_is(page):
    real, sampled = section(page, "datasets").all("article")
    assert real.one("table").cells() == [
        ["Name", "pmd"],
        ["Trials", "655 (train 510, test 145)"],
        ["Trial length", "120–140 bins (0.6–0.7 s)"],
        ["Bin width", "5 ms"],
        ["Units", "97"],
        ["Covariates", "velocity (2, mm/s)"],
        ["Conditions", "target (1)"],
        ["Source", "https://example.org/pmd.npz"],
        ["Citation", "Santhanam et al. 2006. https://doi.org/10.1038/nature04968"],
        ["Licence", "CC-BY 4.0"],
        ["Fingerprint", "3f9a1c0d77e2b415"],
        ["Lies at", "s3://lab/pmd"],
    ]
    assert real.one("div", class_="warnings").text == "Warning Silent units: 2 of 97."
    assert not sampled.all("div", class_="warnings")


def test_a_place_without_a_card_is_told_too():
    page = read(render(replace(bare(), dataset_uris={"pi-VAE": "s3://lab/x"})))
    article = section(page, "datasets").one("article")
    assert article.text == "pi-VAE Lies at s3://lab/x"


def test_cards_that_say_little():
    page = read(render(replace(bare(), datasets={"real": card(licence="", min_bins=140, covariates={})})))  # fmt: skip
    cells = dict(section(page, "datasets").one("table").cells())
    assert cells["Licence"] == "not stated"
    assert cells["Trial length"] == "140 bins (0.7 s)"
    assert "Covariates" not in cells
    assert "Lies at" not in cells


def test_changed_settings_stand_before_the_others(page):
    own = section(page, "settings")
    changed, others = own.one("div", class_="changed"), own.one("details")
    assert own.children.index(changed) < own.children.index(others)
    assert changed.one("table").cells() == [["diffusion.conditions", "target"]]
    assert others.one("summary").text == "2 others as they were"
    assert others.one("table").cells() == [
        ["autoencoder.width", "64"],
        ["autoencoder.bidirectional", "true"],
    ]


def test_a_report_explains_its_metrics(page):
    terms = {d.text for d in section(page, "reading").all("dt")}
    shown = {METRICS[name].label for name in row().metrics}
    assert shown | {"Score", "Floor", "Ratio", "Distance", "95 % interval", "Silent units"} == terms


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["distance", "floor", "ratio"])
def test_numbers_that_are_none_are_refused(name, bad):
    metrics = {**row().metrics, "rmse_corr": replace(row().metrics["rmse_corr"], **{name: bad})}
    told = rf"Row 'second': {name} of rmse_corr must be finite, got -?(nan|inf)\."
    with pytest.raises(ValueError, match=told):
        render(bare(row(), row("second", metrics=metrics)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"score": math.nan}, "score"),
        ({"score_interval": (1.0, math.inf)}, "score interval"),
        ({"metrics": {"kl_psc": replace(measured(1, 1), interval=(math.nan, 1.0))}}, "distance of kl_psc"),
        ({"metrics": {"kl_psc": replace(measured(1, 1), ratio_interval=(0.0, math.nan))}}, "ratio of kl_psc"),
    ],
)  # fmt: skip
def test_intervals_that_are_none_are_refused(changes, told):
    with pytest.raises(ValueError, match=f"Row 'LDNS': {told} must be finite"):
        render(bare(row(**changes)))


def test_what_cannot_be_reported_is_refused():
    with pytest.raises(ValueError, match="at least one row, got none"):
        render(replace(bare(), rows=[]))
    with pytest.raises(ValueError, match="Picture 'isi' must be a PNG file, got 4 bytes that begin with b'GIF8'"):  # fmt: skip
        render(replace(bare(), figures={"isi": b"GIF8"}))
    with pytest.raises(ValueError, match=r"Changed setting 'widht' is not among.*Did you mean width\?"):  # fmt: skip
        render(replace(bare(), settings={"width": 1}, changed=["widht"]))
