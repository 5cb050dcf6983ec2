"""What handlers take: read strictly by their type hints, told as JSON Schema."""

import dataclasses
import datetime as dt
import enum
from typing import Annotated, Any, TypedDict

import jsonschema
import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict as TypedDictOfPydantic

from harpoon.worker import Context, Label, Worker
from harpoon.worker.parameters import Parameters, Unfit


@dataclasses.dataclass(frozen=True)
class Order:
    id: str
    lines: tuple[int, ...] = ()


class Address(TypedDictOfPydantic):
    city: str


class Card(BaseModel):
    number: str
    until: dt.date


class Speed(enum.StrEnum):
    FAST = "fast"


def call(function: Any, given: object) -> Any:
    positional, named = Parameters(function).read(given)
    return function(*positional, **named)


def fault(function: Any, given: object) -> str:
    with pytest.raises(Unfit) as raised:
        Parameters(function).read(given)
    return str(raised.value)


def test_fields_of_the_input_are_the_parameters() -> None:
    def pay(order: Order, address: Address, card: Card, speed: Speed = Speed.FAST, note: str | None = None) -> object:
        return order, address, card, speed, note

    given = {
        "order": {"id": "o1", "lines": [1, 2]},
        "address": {"city": "Bern"},
        "card": {"number": "1", "until": "2027-01-31"},
        "speed": "fast",
    }
    order, address, card, speed, note = call(pay, given)
    assert order == Order("o1", (1, 2))
    assert address == {"city": "Bern"}
    assert card == Card(number="1", until=dt.date(2027, 1, 31))
    assert (speed, note) == (Speed.FAST, None)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, "/count: Field required"),
        ({"count": "1"}, "/count: Input should be a valid integer"),
        ({"count": True}, "/count: Input should be a valid integer"),
        ({"count": 0}, "/count: Input should be greater than or equal to 1"),
        ({"count": 1, "other": 2}, "/other: Extra inputs are not permitted"),
        ({"count": 1, "order": {"id": 5}}, "/order/id: Input should be a valid string"),
        ({"count": 1, "order": {"id": "a", "x": 5}}, "/order/x: Unexpected keyword argument"),
        ({"count": 1, "order": {"id": "a", "lines": [1, "secret"]}}, "/order/lines/1: Input should be a valid integer"),
        ([1], "a mapping of the handler's parameters"),
        ("secret", "a mapping of the handler's parameters"),
    ],
)
def test_what_does_not_fit_is_named_and_not_repeated(given: object, where: str) -> None:
    def pay(count: Annotated[int, Field(ge=1)], order: Order | None = None) -> None:
        raise AssertionError

    told = fault(pay, given)
    assert where in told
    assert "secret" not in told


def test_of_many_faults_some_are_told() -> None:
    def pay(lines: list[int]) -> None:
        raise AssertionError

    told = fault(pay, {"lines": ["x"] * 9})
    assert told.count("/lines/") == 5
    assert told.endswith("; and 4 more")


def test_a_parameter_without_a_name_takes_the_whole_input() -> None:
    def pay(ctx: Context, order: Order, /) -> Order:
        return order

    parameters = Parameters(pay)
    assert parameters.takes_context
    assert parameters.read({"id": "o1"}) == ((Order("o1"),), {})
    assert "/id: Input should be a valid string" in fault(pay, {"id": 1})
    assert fault(pay, None).startswith("its input is not what the handler takes: /: ")

    def add(numbers: list[int], /) -> int:
        return sum(numbers)

    assert call(add, [1, 2]) == 3
    assert Parameters(add).input_schema()["type"] == "array"


def test_no_input_is_no_arguments_and_open_ones_take_what_comes() -> None:
    def none() -> str:
        return "called"

    def anything(ctx, first=None, **rest):  # type: ignore[no-untyped-def]
        return first, rest

    assert call(none, None) == "called"
    assert "/x: Extra inputs are not permitted" in fault(none, {"x": 1})
    parameters = Parameters(anything)
    assert parameters.takes_context
    assert parameters.read({"first": [1], "second": 2}) == ((), {"first": [1], "second": 2})


def test_names_that_mean_something_to_pydantic_are_names_like_others() -> None:
    def odd(model_config: int, schema: int, _private: int, copy: int = 4) -> object:
        return model_config, schema, _private, copy

    assert call(odd, {"model_config": 1, "schema": 2, "_private": 3}) == (1, 2, 3, 4)


def test_schemas_tell_what_is_taken_and_returned() -> None:
    app = Worker("shop")

    @app.handler("pay")
    async def pay(ctx: Context, order: Order, speed: Speed = Speed.FAST, extra: object = object()) -> Card:
        raise AssertionError

    @app.handler
    def plain(x, /) -> Label:  # type: ignore[no-untyped-def]
        raise AssertionError

    @app.handler
    def odd() -> Label | int:
        raise AssertionError

    schemas = app.schemas()
    assert list(schemas) == ["odd", "pay", "plain"]
    told = schemas["pay"]
    jsonschema.Draft202012Validator.check_schema(told["input"])
    check = jsonschema.Draft202012Validator(told["input"])
    assert check.is_valid({"order": {"id": "o1"}})
    assert not check.is_valid({"order": {"id": 1}})
    assert not check.is_valid({"order": {"id": "o1"}, "other": 1})
    assert told["input"]["required"] == ["order"]
    assert told["output"]["properties"]["until"] == {"format": "date", "title": "Until", "type": "string"}
    assert "output" not in schemas["plain"]


def test_a_whole_input_of_a_noun_has_a_schema_that_stands_alone() -> None:
    def pay(order: Order, /) -> None:
        raise AssertionError

    schema = Parameters(pay).input_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid({"id": "o1"})
    assert not check.is_valid({"id": 1})


class Strange:
    pass


class TypedDictOfOld(TypedDict):
    city: str


def test_what_cannot_be_a_handler_is_refused_where_it_is_decorated() -> None:
    app = Worker("shop")

    def many(*all_: int) -> None: ...
    def two(a: int, /, b: int) -> None: ...
    def strange(a: Strange) -> None: ...
    def unknown(a: "Nowhere") -> None: ...  # noqa: F821
    def yields() -> Any:
        yield 1

    async def yields_later() -> Any:
        yield 1

    def fine() -> None: ...

    for function, told in (
        (many, "takes \\*arguments"),
        (two, "there can be no other"),
        (strange, "handler strange: .*Strange"),
        (unknown, "Nowhere"),
        (yields, "yields"),
        (yields_later, "yields"),
    ):
        with pytest.raises(TypeError, match=told):
            app.handler(function)
    with pytest.raises(ValueError, match="handler's name"):
        app.handler("not a name")(fine)
    with pytest.raises(ValueError, match="its limit is at least 1"):
        app.handler("fine", limit=0)(fine)
    assert app.handler(fine) is fine
    with pytest.raises(ValueError, match="two handlers fine"):
        app.handler(fine)
    with pytest.raises(ValueError, match="worker's name"):
        Worker("Not A Name")
    with pytest.raises(ValueError, match="at least 1"):
        Worker("shop", concurrency=0)
    assert list(app.handlers) == ["fine"]
