"""Work that goes on beside other work, in a thread of its own: reading before, writing after."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["ahead", "behind"]

Given = TypeVar("Given")
Made = TypeVar("Made")

_END: Any = object()


def ahead(items: Iterable[Made]) -> Iterator[Made]:
    """Yield items; while one is used, the next is made in another thread."""
    source = iter(items)
    with ThreadPoolExecutor(1) as aside:
        coming = aside.submit(next, source, _END)
        while (item := coming.result()) is not _END:
            coming = aside.submit(next, source, _END)
            yield item


def behind(make: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """Yield what is made of each item in another thread, while the next item comes.

    Where the items end with an error, what came before it is made all the same.
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1) as aside:
        for item in items:
            waiting.append(aside.submit(make, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
