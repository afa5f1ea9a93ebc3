import io

from rich.console import Console

from unshuffle.train.progress import Silent, Terminal


def run(reporter):
    reporter.start("training", 3, 1)
    reporter.advance(2, {"loss": 0.25, "partial_ranks": 0.5})
    reporter.say("skipped [x].png: it is torn")
    reporter.advance(3, {"loss": 0.125})
    reporter.stop()
    reporter.stop()


def test_a_log_file_gets_lines():
    file = io.StringIO()
    run(Terminal(Console(file=file)))
    assert file.getvalue().splitlines() == [
        "training: 1 of 3",
        "skipped [x].png: it is torn",
        "training: 3 of 3  loss 0.125",
    ]


def test_a_terminal_gets_a_bar_from_the_start():
    file = io.StringIO()
    run(Terminal(Console(file=file, force_terminal=True, width=100)))
    words = file.getvalue()
    assert "training" in words
    assert "3/3" in words
    assert "loss 0.125" in words
    assert "skipped [x].png" in words


def test_a_long_line_is_not_broken():
    """A path that is cut in two can neither be copied nor searched for."""
    file = io.StringIO()
    Terminal(Console(file=file)).say("x" * 300)
    assert file.getvalue() == "x" * 300 + "\n"


def test_silence_is_silent(capsys):
    run(Silent())
    assert capsys.readouterr() == ("", "")
