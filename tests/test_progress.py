"""Progress: whoever listens hears of every piece of work, and nobody has to listen."""

import contextvars

import pytest

from dogeared.progress import bar, listen, report_to


class Notes:
    """A reporter that writes down what it hears."""

    def __init__(self):
        self.heard = []

    def start(self, name, total, unit):
        self.heard.append(("start", name, total, unit))
        return self

    def advance(self, amount=1, note=""):
        self.heard.append(("advance", amount, note))

    def stop(self, bar):
        self.heard.append("stop")


def work():
    with bar("count", total=5, unit="things", done=2) as progress:
        progress.advance()
        progress.advance(2, note="almost")


HEARD = [("start", "count", 5, "things"), ("advance", 2, ""), ("advance", 1, ""), ("advance", 2, "almost"), "stop"]


def test_a_listener_hears_the_work_of_its_block_alone():
    notes = Notes()
    work()
    with listen(notes):
        work()
    work()
    assert notes.heard == HEARD


def test_a_reporter_that_was_set_hears_all_from_then_on():
    notes = Notes()

    def program():
        report_to(notes)
        work()

    contextvars.Context().run(program)
    work()
    assert notes.heard == HEARD


def test_work_that_fails_is_stopped_too():
    notes = Notes()
    with listen(notes), pytest.raises(ValueError, match="no"), bar("count", total=1, unit="things"):
        raise ValueError("no")
    assert notes.heard[-1] == "stop"
