"""The errors that cross floors."""

from harpoon.kit.errors import (
    Conflict,
    Fenced,
    Gone,
    HarpoonError,
    Invalid,
    PreconditionFailed,
    Problem,
    Unavailable,
    leaves,
)


def test_errors_carry_what_their_reader_needs() -> None:
    problem = Problem(pointer="/a", detail="required, but missing")
    assert Invalid("wrong", [problem]).problems == (problem,)
    assert Invalid("wrong").problems == ()
    assert Conflict("changed", current=3).current == 3
    assert PreconditionFailed("changed").current is None
    assert Fenced("taken over", mark="1.7").mark == "1.7"
    assert Gone("compacted", oldest="1.7").oldest == "1.7"


def test_every_error_tells_its_message_and_can_be_caught_as_one() -> None:
    for error in (
        Invalid("x"),
        Conflict("x"),
        PreconditionFailed("x"),
        Gone("x", oldest="1.1"),
        Fenced("x"),
        Unavailable("x"),
    ):
        assert isinstance(error, HarpoonError)
        assert str(error) == "x"


def test_the_errors_of_a_group_are_told_without_their_groups() -> None:
    first, second, third = ValueError("a"), KeyError("b"), ValueError("c")
    assert leaves(ExceptionGroup("x", [first, ExceptionGroup("y", [second, third])])) == [first, second, third]
