"""What a watch promises, asked of a server from outside: of one that is started here, or of any, by ``--server``."""

from concurrent.futures import Future

import pytest

from tests.conformance import promises, refusals, slow
from tests.conformance.conftest import BOOKMARK_S, LATE_S
from tests.conformance.events import ENCODINGS, Event
from tests.conformance.history import History
from tests.conformance.stir import Stir
from tests.conformance.wire import Address

pytestmark = pytest.mark.system


async def test_a_reader_is_told_every_acknowledged_revision_once_in_order_and_whole(history: History) -> None:
    await promises.everything_is_told_once_in_order_and_whole(history)
    assert {kind for event in history.events for kind, _ in event.keys} >= {"job"}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_resumed_after_any_event_exactly_the_rest_is_told(
    address: Address, history: History, encoding: str
) -> None:
    await promises.resuming_tells_exactly_the_rest(address, history, encoding, history.revisions)


async def test_the_last_event_id_wins_over_the_parameter(address: Address, history: History) -> None:
    await promises.the_header_wins_over_the_parameter(address, history)


async def test_both_encodings_tell_the_same(address: Address, stir: Stir) -> None:
    await promises.both_encodings_tell_the_same(address, stir)


async def test_a_snapshot_and_its_changes_are_what_the_lists_show(address: Address, stir: Stir) -> None:
    await promises.a_snapshot_and_its_changes_are_what_the_lists_show(address, stir)


async def test_selections_tell_what_enters_and_what_leaves_them_and_no_more(address: Address, stir: Stir) -> None:
    await promises.selections_tell_what_they_select(address, stir, promises.selections(stir))


async def test_what_is_written_at_once_is_told_at_once_while_several_write(address: Address, stir: Stir) -> None:
    await promises.what_is_written_at_once_is_told_at_once(address, stir)


async def test_bad_parameters_are_refused_by_name(address: Address) -> None:
    await refusals.bad_parameters_are_named(address)


async def test_what_cannot_be_resumed_is_gone_and_says_from_where_it_can(address: Address, stir: Stir) -> None:
    await refusals.what_cannot_be_resumed_is_gone(address, stir)


async def test_the_form_is_negotiated_and_head_has_no_stream(address: Address) -> None:
    await refusals.forms_are_negotiated(address)


async def test_who_does_not_show_the_token_is_told_nothing(address: Address) -> None:
    await refusals.strangers_are_not_told(address)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_slow_reader_is_cut_off_with_a_word_and_slows_nobody(
    address: Address, stir: Stir, encoding: str
) -> None:
    await slow.a_slow_reader_is_cut_off_with_a_word(address, stir, encoding)


async def test_a_bookmark_comes_in_time_and_can_be_resumed_from(
    address: Address, stir: Stir, bookmarks: "Future[list[tuple[float, Event]]]"
) -> None:
    told = bookmarks.result(BOOKMARK_S + 2 * LATE_S)
    assert [event.type for _, event in told] == ["snapshot", "synced", "bookmark"]
    assert told[-1][0] <= BOOKMARK_S + LATE_S
    await promises.a_bookmark_can_be_resumed_from(address, stir, told[-1][1].revision)
