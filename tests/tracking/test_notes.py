"""What pages say: the score with its reference, where things are, and how to make them again."""

from ldns_ray.tracking import notes

COMMIT = "0123456789abcdef"
PROVENANCE = {
    "model": "/root/observation/ab/model", "model_fingerprint": "cd", "model_commit": COMMIT, "dataset": "ef",
    "dataset_name": "speech", "sampler": "ddim", "n_steps": 5, "guidance": 1.0, "seed": 0,
}  # fmt: skip


def test_a_score_has_its_reference():
    text = notes.outcome(1.2, (1.05, 1.4), {"PSTH + Poisson": 2.684}, "test")
    assert text.startswith(
        "**Score 1.20** (95 % interval 1.05 to 1.40) on the test split: the samples are 1.20 times as far"
    )
    assert "1 is as close as the data is to itself, lower is better" in text
    assert text.endswith("; PSTH + Poisson: 2.68.")


def test_a_run_of_a_model():
    data = notes.dataset("speech", "ef", "/data/speech")
    text = notes.model_run(
        "LDNS `reach`.", data=data, result=notes.outcome(1.2, None, {}, "val"), places={"Model": "`/m`"},
        command="python jobs/train.py reach", commit=COMMIT,
    )  # fmt: skip
    score, what, places, again = text.split("\n\n")
    assert score.startswith("**Score 1.20** on the val split")
    assert what == "LDNS `reach`. Training data: *speech* (fingerprint `ef`, `/data/speech`)."
    assert places == "- Model: `/m`"
    assert again == "To do the same again, at commit `0123456789`: `python jobs/train.py reach`"
    bare = notes.model_run("LDNS.", data=data, result=notes.UNSCORED, places={}, command="", commit="")  # fmt: skip
    assert bare.split("\n\n") == ["Not evaluated yet.", f"LDNS. Training data: {data}."]


def test_a_run_of_a_sweep():
    about = dict(
        experiment="reach", data="*d*", n_trials=4, seed=1, space={"seed": "choice [1, 2]"}, trials="#/t", command="c",
        commit="",
    )  # fmt: skip
    before = notes.sweep_run(**about, result=notes.UNSCORED, best="")
    assert before.startswith("Not evaluated yet. [All trials, best first](#/t).\n\n")
    assert "4 trials" in before
    assert "seed 1" in before
    assert "- `seed`: `choice [1, 2]`" in before
    after = notes.sweep_run(**about, result="**Score 1.10**", best=notes.link("trial 3", "#/r"))
    assert after.startswith("Of the best trial, [trial 3](#/r), whose metrics this run shows: **Score 1.10**")  # fmt: skip


def test_an_evaluation_says_where_its_samples_come_from():
    told = notes.origin("/s", PROVENANCE)
    for part in ("model `/root/observation/ab/model`", "trained on `speech`", f"at commit `{COMMIT}`", "sampler `ddim`",
                 "steps `5`", "guidance `1.0`", "seed `0`"):  # fmt: skip
        assert part in told
    assert notes.origin("/s", {}) == "`/s`, of unknown origin"
    assert "None" not in notes.origin("/s", {"model": "/m"})
    text = notes.evaluation_run(
        real="*speech*", split="test", samples={"ours": told}, result="**Score 2.00**", command="c", commit=""
    )  # fmt: skip
    assert text.startswith("**Score 2.00**\n\nSampled spikes compared with the test trials of *speech*.")  # fmt: skip
    assert f"- ours: {told}" in text


def test_an_experiment_explains_its_columns():
    text = notes.experiment_page("#/best", [("score", "Realism."), ("kl_psc", "Divergence.")])
    lead, table = text.split("\n\n")
    assert "[runs, best first](#/best)" in lead
    assert table.splitlines()[2:] == ["| `score` | Realism. |", "| `kl_psc` | Divergence. |"]


def test_a_link_that_leads_nowhere_is_text():
    assert notes.link("plots", "") == "plots"


HOSTILE = "[x](http://e)<img src=x onerror=a()>`*_\n\n# h ![p](q)"


def test_names_from_datasets_are_no_markdown():
    plain = "\\[x\\](http://e)&lt;img src=x onerror=a()>\\`\\*\\_ # h \\!\\[p\\](q)"
    inert = "`[x](http://e)<img src=x onerror=a()>'*_ # h ![p](q)`"
    assert notes.dataset(HOSTILE, HOSTILE, HOSTILE) == f"*{plain}* (fingerprint {inert}, {inert})"
    assert notes.origin("/s", {"model": HOSTILE}) == f"`/s`: model {inert}"
    text = notes.evaluation_run(
        real="*d*", split="test", samples={HOSTILE: "s"}, result="r", command="", commit=""
    )
    assert text.endswith(f"- {plain}: s")
    assert notes.words("reach & grasp_2 (5 ms)") == "reach &amp; grasp\\_2 (5 ms)"
    rows = notes.model_page("what", "models:/m-1", {"a|b": "condition"}).splitlines()
    assert rows[-1] == "| `a¦b` | condition |"
