"""What is made of the ledger's rows."""

from typing import Any, NamedTuple, cast

from emsearch.coordinator.reading import alike_in
from emsearch.records.trial import Cause, OrderState


class End(NamedTuple):
    """How an attempt ended, as the ledger has it."""

    order_id: int
    cause: Cause
    detail: str
    order_state: OrderState = OrderState.FAILED


def alike(*ends: End) -> str:
    return alike_in(cast("Any", ends))


def full_disk(order: int) -> End:
    detail = f"Traceback\nOSError: No space left on device: 'trials/{order:06d}/a-{order}f3.pt'"
    return End(order, Cause.ERROR, detail)


def test_five_orders_that_failed_alike_but_for_their_numbers_are_alike() -> None:
    said = alike(*(full_disk(order) for order in (9, 8, 7, 6, 5)))
    assert said == "OSError: No space left on device: 'trials/000005/a-5f3.pt'"
    assert alike(*(full_disk(order) for order in (9, 8, 7, 6))) == ""


def test_an_order_that_is_tried_again_counts_once() -> None:
    twice = [full_disk(order) for order in (9, 9, 8, 8, 7, 7)]
    assert alike(*twice) == ""
    assert alike(*twice, full_disk(6), full_disk(5)) != ""


def test_an_end_of_another_kind_among_them_makes_them_differ() -> None:
    some = [full_disk(order) for order in (9, 8, 7)]
    done = End(6, Cause.COMPLETED, "")
    other = End(6, Cause.ERROR, "Traceback\nKeyError: 'patch'")
    for between in (done, other):
        assert alike(*some, between, full_disk(5), full_disk(4)) == ""
    assert alike() == ""


def test_five_orders_for_which_no_memory_was_enough_are_alike() -> None:
    given_up = [
        End(order, Cause.HOST_OUT_OF_MEMORY, f"killed {order}") for order in range(9, 4, -1)
    ]
    assert alike(*given_up) == "out of the host's memory"
    assert alike(*given_up[:4]) == ""
    roomier = [one._replace(order_state=OrderState.RUNNING) for one in given_up]
    assert alike(*roomier) == ""
    assert alike(roomier[0]._replace(order_id=10), *given_up) != ""
