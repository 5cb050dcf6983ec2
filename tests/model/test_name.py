"""Names, and the ids made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpoon.model.name import BATCH, check_name, check_port_name, check_tags, check_variable, workflow_said
from harpoon.model.run_orders import RunStart
from harpoon.model.run_repairs import RunFork
from harpoon.model.task import Number, Placement, TaskState, parse_task_id, task_id
from harpoon.model.token import Token

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NUMBERS = st.builds(Number, st.integers(0, 1 << 62), st.integers(0, 1 << 62))


@pytest.mark.parametrize("name", ["a", "web", "web-1", "a" * 63, "x--y"])
def test_a_name_is_taken(name: str) -> None:
    assert check_name("name", name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "-a", "a-", "1a", "Web", "a_b", "a.b", "a/b", "../etc", "..", "%2e%2e", "a" * 64, "a\n", "\na", "a b"),
        *("a\x00", "ä", "a\u202eb", "٣a", "$(id)", "a;id", "con.", "a\u200b"),
    ],
)
def test_another_name_is_refused_and_shown_harmlessly(name: str) -> None:
    with pytest.raises(ValueError, match="name is 1 to 63 of a-z") as caught:
        check_name("name", name)
    assert str(caught.value).isprintable()


def test_a_long_name_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match="got") as caught:
        check_name("name", "A" * 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["a", "http", "http_2", "a" * 32])
def test_a_port_s_name_is_taken(name: str) -> None:
    assert check_port_name(name) == name


@pytest.mark.parametrize("name", ["", "HTTP", "a-b", "_a", "a_", "1a", "a" * 33, "a\n"])
def test_another_port_s_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a port's name is"):
        check_port_name(name)


@pytest.mark.parametrize("name", ["A", "_", "a_1", "PATH", "A" * 128])
def test_a_variable_is_taken(name: str) -> None:
    assert check_variable(name) == name


@pytest.mark.parametrize("name", ["", "1A", "A=B", "A B", "A\x00", "A\n", "Ä", "A" * 129])
def test_another_variable_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="an environment variable is"):
        check_variable(name)


@given(NAMES, NAMES, st.integers(0, 10_000), NUMBERS)
def test_a_task_id_is_taken_apart_as_it_was_made(namespace: str, job: str, slot: int, number: Number) -> None:
    made = task_id(namespace, job, slot, number)
    assert tuple(parse_task_id(made))[:4] == (namespace, job, slot, number)
    assert parse_task_id(made).number.revision == number.revision


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b.0",
        "a.b.0.1",
        "a.b.0.1-2-3",
        "a.b.-x.1-2",
        "a.b.-1.1-2",
        "a.b.0.1-",
        "a.b.²." + "1-2",
        "a.b.0.1-2.c",
        "a.b.٣.1-2",
    ],
)
def test_another_text_is_no_task_id(text: str) -> None:
    with pytest.raises(ValueError, match="a task id is"):
        parse_task_id(text)


def test_a_placement_names_its_task() -> None:
    placement = Placement(
        namespace="default",
        job="web",
        slot=3,
        incarnation=1,
        revision=42,
        agent="a1",
        generation="g",
        version=1,
        reason="the least used agent",
        decided_ms=0,
    )
    assert placement.task == "default.web.3.1-42"
    assert placement.number == Number(1, 42)


def test_later_numbers_and_tokens_are_higher() -> None:
    assert Number(1, 9) < Number(1, 10) < Number(2, 1)
    assert Token(incarnation=1, revision=9) < Token(incarnation=1, revision=10) < Token(incarnation=2, revision=1)
    assert str(Token(incarnation=2, revision=7)) == "2.7"


def test_a_task_is_over_when_it_runs_no_more_and_never_will() -> None:
    assert {state for state in TaskState if state.is_over} == {TaskState.FINISHED, TaskState.FAILED}


@pytest.mark.parametrize("tags", [{}, {"k" * 63: "v" * 255}, {str(number): "" for number in range(64)}])
def test_something_has_so_many_tags_and_no_longer_ones(tags: dict[str, str]) -> None:
    check_tags(tags)


@pytest.mark.parametrize("tags", [{"": "v"}, {"k" * 64: "v"}, {"k": "v" * 256}, {str(n): "" for n in range(65)}])
def test_more_or_longer_tags_are_refused(tags: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="tags holds at most 64"):
        check_tags(tags)
    # What is started has them for as long as it is kept, and so has all that it calls.
    for order in (lambda: RunStart(workflow="a", tags=tags), lambda: RunFork(from_="a", tags=tags)):
        with pytest.raises(ValueError, match="tags holds at most 64"):
            order()
    with pytest.raises(ValueError, match="by has at most"):
        RunFork(from_="a", by="x" * 201)


def test_of_which_workflow_a_run_is_is_said_unless_it_is_a_batch() -> None:
    assert (workflow_said("refund"), workflow_said(BATCH)) == ("workflow refund", "a batch")
