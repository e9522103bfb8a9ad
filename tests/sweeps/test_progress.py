"""What a person reads of a sweep: scripted news, a clock by hand, and the text that comes of them."""

import io

import pytest

from ldns_ray.sweeps.news import News
from ldns_ray.sweeps.progress import Plain, Progress, Sticky, output
from ldns_ray.sweeps.standing import Standing
from ldns_ray.text_table import width

MIN = 60.0


class Scripted:
    """A sweep whose trials say what a test tells them to, at the times it says."""

    def __init__(self, n_trials, at_once=1, before=(), out=None, name="speech", now=0.0, **options):
        self.now, self.lines = now, []
        self.standing = Standing(n_trials, at_once, before)
        out = Plain(self.lines.append) if out is None else out
        self.progress = Progress(name, self.standing, out, clock=lambda: self.now, **options)

    def say(self, at, number, kind, **more):
        self.now = at
        self.progress.heard(News(number, kind, time=at, **more))

    def trial(self, number, begin, end, score):
        """A trial that finishes."""
        self.say(begin, number, "began")
        self.say(end, number, "ended", status="finished", score=score)

    def new(self):
        """The lines since the last time."""
        lines, self.lines[:] = list(self.lines), []
        return lines


def test_events_have_a_line_each_as_they_happen():
    sweep = Scripted(12, 2, interval=(1e9, 1e9))
    sweep.say(0, 1, "began", text="diffusion.learning_rate 0.001, autoencoder.n_latents 8")
    sweep.say(1, 2, "began")
    sweep.say(2, 1, "stage", stage="autoencoder", status="started")
    sweep.say(2, 1, "remark", stage="autoencoder", text="trials are kept in memory")
    sweep.say(3, 2, "stage", stage="autoencoder", status="waiting", text="trial 1")
    sweep.say(4, 2, "stage", stage="autoencoder", status="waiting", text="trial 1")
    sweep.say(5, 1, "epoch", stage="autoencoder", epoch=3, n_epochs=10, text="train 0.5")
    sweep.say(50, 1, "stage", stage="autoencoder", status="done")
    sweep.say(51, 2, "stage", stage="autoencoder", status="reused")
    sweep.say(60, 2, "stage", stage="diffusion", status="started")
    sweep.say(80, 2, "rung", stage="diffusion", epoch=40, n_epochs=120, score=2.5)
    sweep.say(100, 2, "ended", status="stopped")
    sweep.say(100, 3, "began")
    sweep.say(12 * MIN, 1, "ended", status="finished", score=1.5)
    sweep.trial(4, 13 * MIN, 13 * MIN + 42, 1.24)
    sweep.say(14 * MIN, 3, "ended", status="finished", score=1.4)
    assert sweep.new() == [
        "trial  1  begins: diffusion.learning_rate 0.001, autoencoder.n_latents 8",
        "trial  2  begins",
        "trial  2  waits: trial 1 does its autoencoder",
        "trial  2  goes on: its autoencoder is done",
        "trial  2  stopped early: score 2.50 at epoch 40 of diffusion, 2 min",
        "trial  3  begins",
        "trial  1  finished: score 1.50, best so far, 12 min",
        "trial  4  begins",
        "trial  4  finished: score 1.24, best so far, 42 s",
        "trial  3  finished: score 1.40, rank 2 of 3, 12 min",
    ]


def test_a_waiting_trial_may_have_to_do_the_stage_itself():
    sweep = Scripted(2, 2)
    sweep.say(0, 1, "began")
    sweep.say(1, 1, "stage", stage="autoencoder", status="waiting")
    sweep.say(2, 1, "stage", stage="autoencoder", status="started")
    assert sweep.new()[1:] == [
        "trial 1  waits: another trial does its autoencoder",
        "trial 1  goes on: its autoencoder is not done yet",
    ]


ERROR = """\x1b[36mray::run_trial()\x1b[39m (pid=7)
  File "loop.py", line 3, in step
FloatingPointError: loss is\tnot\x07 finite – größer als 10³.

"""


def test_a_failure_is_told_by_the_last_line_of_its_error():
    sweep = Scripted(3)
    sweep.say(0, 1, "began", text="n 1")
    sweep.say(1, 1, "ended", status="retried", text=ERROR)
    sweep.say(2, 1, "began", text="n 1")
    sweep.say(3, 1, "ended", status="failed", text=ERROR)
    sweep.say(4, 2, "ended", status="failed")
    said = "FloatingPointError: loss is not finite – größer als 10³."
    assert sweep.new() == [
        "trial 1  begins: n 1",
        f"trial 1  failed, will be tried again: {said}",
        "trial 1  begins again: n 1",
        f"trial 1  failed: {said}",
        "trial 2  failed: no error was told",
    ]
    sweep.progress.close()
    assert sweep.new() == ["speech  2/3 done, 2 failed, 4 s"]


def test_a_rung_without_a_finite_score_keeps_the_one_before():
    sweep = Scripted(2)
    for epoch, score in ((1, 2.5), (2, float("nan")), (3, None)):
        sweep.say(epoch, 1, "rung", stage="diffusion", epoch=epoch, n_epochs=9, score=score)
    assert [(row["epoch"], row["score"]) for row in sweep.standing.table()] == [("3/9", 2.5)]


@pytest.mark.parametrize("score", [None, float("nan")])
def test_a_trial_without_a_score_is_never_the_best(score):
    sweep = Scripted(2, interval=(1e9, 1e9))
    sweep.trial(1, 0, 10, score)
    sweep.trial(2, 10, 20, 3.0)
    sweep.progress.close()
    assert sweep.new() == [
        "trial 1  begins",
        "trial 1  finished: no score, 10 s",
        "trial 2  begins",
        "trial 2  finished: score 3.00, best so far, 10 s",
        "speech  2/2 done, best 3.00 (trial 2), 20 s",
    ]


def test_what_comes_after_an_end_is_late():
    sweep = Scripted(2, interval=(1e9, 1e9))
    sweep.say(0, 1, "began")
    sweep.say(1, 1, "ended", status="finished", score=1.0)
    sweep.new()
    sweep.say(2, 1, "epoch", stage="diffusion", epoch=1, n_epochs=2)
    sweep.say(2, 1, "began")
    sweep.say(3, 1, "ended", status="failed", text="late")
    sweep.say(99, 1, "stage", stage="diffusion", status="started")
    assert sweep.new() == []
    assert sweep.standing.n_ended == 1


def test_a_block_tells_how_the_sweep_stands():
    sweep = Scripted(100, 5, interval=(15, 15))
    for number in (1, 2, 3):
        sweep.say(0, number, "began")
    sweep.trial(8, 1, 3, 1.24)
    sweep.say(4, 1, "epoch", stage="diffusion", epoch=12, n_epochs=120, text="train 0.5  val 0.25")
    sweep.say(5, 2, "rung", stage="autoencoder", epoch=5, n_epochs=9, text="val 1.5", score=12.346)
    sweep.say(6, 3, "stage", stage="samples", status="started")
    sweep.say(7, 9, "began")
    sweep.say(8, 10, "began")
    sweep.say(9, 10, "stage", stage="autoencoder", status="waiting")
    sweep.say(9, 11, "began")
    sweep.new()
    sweep.say(15, 11, "ended", status="stopped")
    assert sweep.new() == [
        "trial  11  stopped early: no score, 6 s",
        # 93 trials of 4 s in 5 places
        "speech  2/100 done, 5 running, 1 stopped early, best 1.24 (trial 8), 15 s, about 1 min left",
        "  trial   1  diffusion    12/120  10 %  train 0.5  val 0.25",
        "  trial   2  autoencoder     5/9  55 %  val 1.5  score 12.35",
        "  trial   3  samples",
        "  trial   9  begins",
        "  trial  10  autoencoder                waits for another trial",
    ]


def test_blocks_come_when_something_changed_and_more_rarely_with_time():
    sweep = Scripted(9, interval=(15, 300))
    sweep.say(0, 1, "began")
    sweep.new()

    def told():
        """Whether there is a block."""
        sweep.progress.tell()
        return bool(sweep.new())

    def epoch(at):
        sweep.say(at, 1, "epoch", stage="diffusion", epoch=1, n_epochs=2)
        return bool(sweep.new())

    sweep.now = 14
    assert not told()
    sweep.now = 15
    assert told()
    sweep.now = 1000
    assert not told(), "nothing changed since"
    assert epoch(1000)
    assert not epoch(1024), "a fortieth of 17 minutes"
    assert epoch(1026)
    assert epoch(36_000)
    assert not epoch(36_299)
    assert epoch(36_301)


def test_32_running_trials_of_wide_names_keep_to_100_columns():
    sweep = Scripted(1000, 32, name="a" * 99, interval=(1, 1))
    for number in range(900, 1000):
        sweep.say(0, number, "began", text="神経.学習率 0.001, " * 9)
        sweep.say(0, number, "ended", status="retried", text="x" * 300)
        if number % 2:
            sweep.say(0, number, "began")
            sweep.say(2.5 * 86_400, number, "ended", status="stopped", score=1.2)
    for number in range(1, 33):
        sweep.say(3 * 86_400 - MIN, number, "began", text="神経.学習率 0.001, " * 9)
    sweep.trial(500, 2 * 86_400, 3 * 86_400, 123.456)
    assert max(map(width, sweep.lines)) == 100
    sweep.new()
    text = "損失 0.12345 " * 20
    sweep.now = 3 * 86_400 + 3
    sweep.say(sweep.now, 7, "epoch", stage="diffusion", epoch=1999, n_epochs=2000, text=text)
    lines = sweep.new()
    assert lines[:2] == [
        "aaaaaaaaaaaaaaaaaaaaaaa…  51/1000 done, 32 running, 50 stopped early, best 123.46 (trial 500), 3 d,",
        "    about 74 d 3 h left",  # 30 rounds of 126/51 days
    ]
    assert lines[2:4] == ["  trial    1  begins", "  trial    2  begins"]
    assert lines[8].startswith("  trial    7  diffusion  1999/2000  99 %  損失 0.12345 損失")
    assert lines[8].endswith("…")
    assert lines[10:] == ["  … and 24 more"]
    assert [width(line) for line in lines if width(line) > 100] == []


def test_a_sweep_that_goes_on_counts_what_was_there():
    before = [
        News(1, "began", text="n 1", time=0),
        News(1, "ended", status="finished", score=2.0, time=600),
        News(2, "began", text="n 2", time=600),
        News(3, "began", text="n 3", time=600),
        News(3, "ended", status="failed", time=601),
    ]
    sweep = Scripted(5, 1, before, now=10_000.0, interval=(15, 15))
    sweep.say(10_000, 2, "began", text="n 2")
    sweep.say(10_060, 2, "epoch", stage="diffusion", epoch=1, n_epochs=4)
    sweep.say(10_600, 2, "ended", status="finished", score=2.5)
    sweep.progress.close()
    assert sweep.new() == [
        "trial 2  begins again: n 2",
        # 9 minutes of trial 2, and 10 each of 4 and 5
        "speech  2/5 done (2 earlier), 1 running, 1 failed, best 2.00 (trial 1), 1 min, about 29 min left",
        "  trial 2  diffusion  1/4  25 %",
        "trial 2  finished: score 2.50, rank 2 of 2, 10 min",
        "speech  3/5 done (2 earlier), 1 failed, best 2.00 (trial 1), 10 min, about 20 min left",
    ]


def test_one_trial_at_a_time_is_shown_in_detail():
    sweep = Scripted(2, detailed=True, interval=(0, 0))
    sweep.say(0, 1, "began", text="n 1")
    sweep.say(1, 1, "stage", stage="diffusion", status="started")
    sweep.say(1, 1, "line", text="diffusion    started")
    sweep.say(1, 1, "remark", stage="diffusion", text="in memory")
    sweep.say(2, 1, "epoch", stage="diffusion", epoch=1, n_epochs=2)
    sweep.say(9, 1, "ended", status="finished", score=1.0)
    assert sweep.new() == [
        "trial 1  begins: n 1",
        "trial 1  diffusion    started",
        "trial 1  finished: score 1.00, best so far, 9 s",
        "speech  1/2 done, best 1.00 (trial 1), 9 s, about 9 s left",
    ]


# -- How long the rest takes


@pytest.mark.parametrize(
    ("n_trials", "at_once", "left"),
    [
        (2, 2, 60),  # trial 2 is 40 s old, those that outlasted that took 100 s
        (3, 2, 70),  # the average of 40 and 100 s in the free place
        (4, 2, 130),  # and in the one that is free after 60 s
        (5, 2, 140),  # or after 70
        (5, 9, 70),
    ],
)
def test_the_time_left_is_that_of_filling_free_places(n_trials, at_once, left):
    standing = Standing(n_trials + 1, at_once)
    for number, end in ((8, 40), (9, 100)):
        standing.heard(News(number, "began", time=0))
        standing.heard(News(number, "ended", status="finished", score=1.0, time=end))
    standing.heard(News(2, "began", time=60))
    assert standing.seconds_left(now=100) == left


def test_failures_say_nothing_of_the_time_left():
    standing = Standing(9, 2)
    standing.heard(News(1, "began", time=0))
    assert standing.seconds_left(now=5) is None
    standing.heard(News(1, "ended", status="failed", time=5))
    assert standing.seconds_left(now=5) is None
    standing.heard(News(2, "began", time=5))
    standing.heard(News(2, "ended", status="stopped", time=15))
    assert standing.seconds_left(now=15) == 40  # 7 trials in 2 places, 10 s each


# -- On a terminal


class Terminal(io.StringIO):
    """As much of a terminal as is needed: carriage return, erasing to the end of the line, and lines that wrap."""

    columns = 80

    def isatty(self):
        return True

    def screen(self):
        lines, at = [""], 0
        text = self.getvalue().replace("\x1b[K", "\x00")
        for c in text:
            match c:
                case "\r":
                    at = 0
                case "\n":
                    lines.append("")
                    at = 0
                case "\x00":
                    lines[-1] = lines[-1][:at]
                case _:
                    assert c.isprintable()
                    if at == self.columns:
                        lines.append("")
                        at = 0
                    lines[-1] = lines[-1][:at] + c + lines[-1][at + 1 :]
                    at += 1
        return lines


def test_a_terminal_keeps_the_headline_below_what_scrolls(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    sweep = Scripted(9, 2, out=Sticky(terminal), interval=(15, 15))
    sweep.say(0, 1, "began", text="n 1")
    assert terminal.screen() == ["trial 1  begins: n 1", "speech  0/9 done, 1 running, 0 s"]
    sweep.say(20, 1, "epoch", stage="diffusion", epoch=1, n_epochs=4)
    terminal.write("  WARNING of a library\n")
    sweep.say(30, 1, "ended", status="finished", score=1.0)
    assert terminal.screen() == [
        "trial 1  begins: n 1",
        "  trial 1  diffusion  1/4  25 %",
        "speech  0/9 done, 1 running, 20 s  WARNING of a library",
        "trial 1  finished: score 1.00, best so far, 30 s",
        "speech  1/9 done, best 1.00 (trial 1), 30 s, about 2 min left",
    ]
    sweep.progress.close()
    assert terminal.screen()[-2:] == [
        "speech  1/9 done, best 1.00 (trial 1), 30 s, about 2 min left",
        "",
    ]


@pytest.mark.parametrize(
    ("columns", "headline"),
    [
        (85, "speech  1/9 done, 1 running, 1 stopped early, 4 s, about 8 s left"),
        (62, "speech  1/9 done, 1 stopped early, 4 s, about 8 s left"),
        (40, "speech  1/9 done, 4 s, about 8 s left"),
        (20, "speech  1/9 done, a…"),
    ],
)
def test_a_headline_is_shortened_until_it_fits_the_terminal(monkeypatch, columns, headline):
    monkeypatch.setenv("COLUMNS", str(columns + 1))
    terminal = Terminal()
    terminal.columns = columns + 1
    sweep = Scripted(9, 1, out=Sticky(terminal))
    sweep.say(0, 1, "began")
    sweep.say(1, 1, "ended", status="stopped")
    for second in (2, 3, 4):
        sweep.say(second, 2, "epoch", stage="diffusion", epoch=1, n_epochs=4)
    assert terminal.screen()[-1] == headline
    assert len(terminal.screen()) == 3 + (columns < 31), "two events, the longer may wrap"


def test_control_characters_go_to_terminals_alone():
    terminal, file = Terminal(), io.StringIO()
    color = {"TERM": "xterm-256color"}
    assert isinstance(output(terminal, print, color), Sticky)
    assert isinstance(output(file, print, color), Plain)
    assert isinstance(output(terminal, print, color | {"NO_COLOR": "1"}), Plain)
    assert isinstance(output(terminal, print, color | {"NO_COLOR": ""}), Sticky)
    assert isinstance(output(terminal, print, {"TERM": "dumb"}), Plain)
    assert isinstance(output(terminal, print, {}), Plain)
