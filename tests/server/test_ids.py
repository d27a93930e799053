from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import pytest

from turnwise.server.ids import RandomBytes, SortableIds, new_id


def test_ids_ascend_within_a_millisecond_and_over_a_clock_that_goes_back() -> None:
    moments = iter([5, 5, 5, 3, 6])
    make = SortableIds(lambda: next(moments))
    made = [make() for _ in range(5)]
    assert made == sorted(set(made))
    assert all(len(each) == 32 for each in made)


def test_the_random_part_overflows_into_the_next_millisecond() -> None:
    make = SortableIds(lambda: 5, lambda count: b"\xff" * count)
    first, second = make(), make()
    assert first < second
    assert int(second[:12], 16) == 6


def test_random_bytes_are_handed_out_once() -> None:
    draw = RandomBytes(at_once=32)
    drawn = [draw(9) for _ in range(100)]
    assert len(set(drawn)) == 100
    assert {len(each) for each in drawn} == {9}
    assert len(draw(100)) == 100


def _send_ids(connection: Connection) -> None:
    connection.send([new_id() for _ in range(50)])
    connection.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_makes_ids_of_its_own() -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    new_id()
    context = multiprocessing.get_context("fork")
    mine, others = context.Pipe(duplex=False)
    child = context.Process(target=_send_ids, args=(others,))
    child.start()
    made = mine.recv()
    child.join()
    randoms = {each[12:] for each in [*made, *(new_id() for _ in range(50))]}
    assert len(randoms) == 100
