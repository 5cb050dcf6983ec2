"""What requests carry beside bodies, given anything: it is read, or refused with the error that is documented."""

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from harpoon.api.app import ROUTES
from harpoon.api.frames import negotiate
from harpoon.api.operation import Operation
from harpoon.api.problem import Refused
from harpoon.api.query import Query
from harpoon.api.revision import read_if_match, read_is_new
from harpoon.api.selection import read_selection
from harpoon.control.changes import change_status
from harpoon.control.view import View
from harpoon.kit.errors import Invalid, NotFound, PreconditionFailed
from harpoon.store.memory import MemoryStore
from tests.fuzz.spoilt import texts

SECOND = settings(max_examples=200, deadline=1000)
PAIRS = st.lists(
    st.tuples(texts("tag", "after", "tail", "follow", "kinds", "name"), texts("a=b", "1.42", "true", "9")), max_size=4
)


def asked(operation: Operation, pairs: Any = (), headers: Any = ()) -> Any:
    """What the readers of a request look at."""
    match_info = SimpleNamespace(handler=operation.serve)
    return SimpleNamespace(query=MultiDict(pairs), headers=CIMultiDict(headers), match_info=match_info)


def a_view() -> View:
    return View(MemoryStore(), incarnation=1, cluster="c1")


@pytest.mark.parametrize("operation", ROUTES, ids=lambda operation: operation.operation_id)
def test_a_query_of_anything_is_read_or_invalid(operation: Operation) -> None:
    names = [parameter.name for parameter in operation.parameters]

    @settings(max_examples=40, deadline=1000)
    @given(PAIRS | st.dictionaries(st.sampled_from(names or ["x"]), texts("a=b", "1.42", "true", "9", "30s")))
    def check(pairs: Any) -> None:
        request = asked(operation, pairs)
        try:
            operation._check(request)
        except Invalid as error:
            assert error.problems
        query = Query(request)
        for parameter in operation.parameters:
            for read in readers(query, parameter):
                try:
                    read()
                except Invalid as error:
                    assert error.problems[0].pointer == f"?{parameter.name}"

    check()


def readers(query: Query, parameter: Any) -> list[Any]:
    """The ways in which a parameter may be read."""
    kind = parameter.schema.get("type")
    if parameter.name == "tag":
        return [query.tags]
    if kind == "integer":
        return [lambda: query.count(parameter.name)]
    if kind == "boolean":
        return [lambda: query.flag(parameter.name)]
    return [lambda: query.one(parameter.name), lambda: query.name(parameter.name)]


@SECOND
@given(PAIRS)
def test_a_selection_of_anything_is_read_or_invalid(pairs: Any) -> None:
    watch = next(operation for operation in ROUTES if operation.path == "/v1/watch")
    try:
        selection = read_selection(Query(asked(watch, pairs)))
    except Invalid as error:
        assert error.problems
    else:
        assert selection.kinds


@SECOND
@given(texts("text/event-stream", "application/x-ndjson;q=0.5, */*", "a/b,,;q=", "*/*"))
def test_a_form_is_chosen_or_refused(text: str) -> None:
    among = ("text/event-stream", "application/x-ndjson")
    try:
        assert negotiate(asked(ROUTES[0], headers={"Accept": text}), among=among) in among
    except Refused as error:
        assert error.status == 406


@SECOND
@given(st.lists(texts('"1.42"', 'W/"1.42"', "*", '"1.42", "1.43"'), max_size=2))
def test_a_precondition_of_anything_is_read_or_refused(values: list[str]) -> None:
    headers = [("If-Match", value) for value in values] + [("If-None-Match", value) for value in values]
    request = asked(ROUTES[0], headers=headers)
    try:
        revision = read_if_match(request, a_view())
    except (Invalid, PreconditionFailed):
        assert values
    else:
        assert revision is None or revision >= 0
    try:
        assert read_is_new(request) == bool(values)
    except Invalid:
        assert values


@SECOND
@given(texts("default.web.1-0", "default.web.1-999999999999999999", "default.web.\u00b2-\u00b2"))
def test_the_id_of_a_change_is_that_of_one_or_refused(text: str) -> None:
    with contextlib.suppress(Invalid, NotFound):
        assert change_status(a_view(), text).id == text
