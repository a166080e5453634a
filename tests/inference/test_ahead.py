import threading
from collections.abc import Iterator

import pytest

from emsearch.inference.ahead import ahead, behind


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number in range(3):
            made[number].set()
            yield number

    for number in ahead(items()):
        assert all(event.wait(10) for event in made[: number + 2])
        assert number < 2 or made[2].is_set()


def test_an_error_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("unreadable")

    seen: list[int] = []
    with pytest.raises(OSError, match="unreadable"):
        seen.extend(ahead(items()))
    assert list(ahead([])) == []


def test_what_is_made_behind_comes_in_order() -> None:
    assert list(behind(lambda item: 2 * item, range(5))) == [0, 2, 4, 6, 8]
    assert list(behind(str, [])) == []


def test_the_next_item_comes_before_one_is_made() -> None:
    come = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        come.set()
        yield 2

    assert list(behind(lambda _item: come.wait(10), items())) == [True, True]


def test_where_items_end_with_an_error_what_came_before_is_made() -> None:
    written: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("cut short")

    with pytest.raises(OSError, match="cut short"):
        list(behind(written.append, items()))
    assert written == [1, 2]
