"""What comes next is made ahead, in order, and nothing else changes."""

import threading

import pytest

from dogeared.ahead import Ahead, ahead


@pytest.mark.parametrize("in_thread", [False, True])
def test_everything_is_made_once_and_in_order(in_thread):
    made = []

    def work(item: int) -> int:
        made.append(item)
        return item * 10

    assert list(ahead(work, range(5), in_thread=in_thread)) == [0, 10, 20, 30, 40]
    assert made == [0, 1, 2, 3, 4]
    assert list(ahead(work, [], in_thread=in_thread)) == []


def test_the_next_is_made_while_this_one_is_in_use():
    begun = threading.Event()

    def work(item: str) -> tuple[str, int]:
        if item == "next":
            begun.set()
        return item, threading.get_ident()

    with Ahead(work) as making:
        assert making.take("this", then="next") == ("this", threading.get_ident())
        assert begun.wait(10), "nobody began with the next"
        item, thread = making.take("next")
    assert item == "next"
    assert thread != threading.get_ident()


def test_without_a_thread_nothing_is_made_before_it_is_asked_for():
    made = []
    with Ahead(made.append, in_thread=False) as making:
        making.take(1, then=2)
        assert made == [1]
        making.take(2)
    assert made == [1, 2]


def test_after_settling_nothing_is_being_made():
    may_end, ended = threading.Event(), []

    def work(item: int) -> None:
        if item:
            may_end.wait(10)
            ended.append(item)

    with Ahead(work) as making:
        making.take(0, then=1)
        assert ended == []
        may_end.set()
        making.settle()
        assert ended == [1]


def test_an_error_comes_when_its_item_is_asked_for_and_no_sooner():
    def work(item: int) -> int:
        if item == 1:
            raise ValueError("of item 1")
        return item

    with Ahead(work) as making:
        assert making.take(0, then=1) == 0
        making.settle()
        with pytest.raises(ValueError, match="of item 1"):
            making.take(1, then=2)
        assert making.take(2) == 2


def test_an_item_that_was_not_announced_is_made_at_once():
    with Ahead(str) as making:
        assert making.take(5, then=6) == "5"
        assert making.take(9) == "9"
        assert making.take(6) == "6"
