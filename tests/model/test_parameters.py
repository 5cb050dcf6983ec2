"""Parameters: typed, bound where they are named and nowhere else, and no value is ever taken for more than a value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpoon.model.check import Check, ExecProbe
from harpoon.model.given import Endpoints
from harpoon.model.job import Spec
from harpoon.model.parameters import ENUM_MAX, PARAMETERS_MAX, Parameter, ParameterType, values_of
from harpoon.model.template import TaskTemplate
from harpoon.model.variables import expand

STRING, INTEGER, NUMBER, BOOLEAN = ParameterType
DAY = Parameter(type=STRING)


def a_spec(*command: str, env: Any = None, parameters: Any = None, **arguments: Any) -> Spec:
    task = TaskTemplate(command=("work", *command), env=env or {})
    return Spec(task=task, parameters={"day": DAY} if parameters is None else parameters, arguments=arguments)


def test_a_value_stands_where_its_parameter_is_named_in_commands_and_environment() -> None:
    check = Check(exec_=ExecProbe(command=("probe", "${parameters.day}")))
    task = TaskTemplate(
        command=("work", "--on=${parameters.day}", "$HOME", "$$"),
        env={"DAY": "${parameters.day}!", "API": Endpoints(endpoints="api/http"), "RAW": "$${x}"},
        checks=(check, Check(exec_=ExecProbe(command=("plain",)))),
    )
    spec = Spec(task=task, parameters={"day": DAY}, arguments={"day": "monday"})
    found = spec.given()
    assert found.command == ("work", "--on=monday", "$HOME", "$$")
    assert (found.env["DAY"], found.env["RAW"]) == ("monday!", "${x}")
    assert found.env["API"] == Endpoints(endpoints="api/http")
    assert [one.exec_.command for one in found.checks if one.exec_] == [("probe", "monday"), ("plain",)]


def test_without_parameters_a_template_is_left_as_it_is() -> None:
    spec = a_spec("$HOME", env={"SHELL": "${HOME}"}, parameters={})
    assert spec.given() is spec.task


@given(st.text(max_size=40).filter(lambda text: "\x00" not in text))
def test_whatever_a_value_is_the_command_has_just_that(value: str) -> None:
    part = a_spec("<${parameters.day}>", day=value).given().command[1]
    assert expand(part, {}) == f"<{value}>"


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (Parameter(type=INTEGER), [0, -3], ["1", 1.5, True]),
        (Parameter(type=NUMBER), [0, 1.5], ["1", False]),
        (Parameter(type=BOOLEAN), [True, False], [1, "true"]),
        (Parameter(type=STRING, maxLength=2), ["", "ab"], ["abc", "\x00", 1]),
        (Parameter(type=INTEGER, enum=(1, 2)), [1], [3]),
        (Parameter(type=STRING, enum=("a",)), ["a"], ["b"]),
    ],
)
def test_values_are_typed(parameter: Parameter, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert parameter.fault_of(value) == ""
    for value in bad:
        with pytest.raises(ValueError, match=r"^arguments\.x "):
            values_of({"x": parameter}, {"x": value})


def test_values_are_written_as_json_has_them() -> None:
    parameters = {"a": Parameter(type=BOOLEAN), "b": Parameter(type=NUMBER), "c": Parameter(type=INTEGER, default=7)}
    assert values_of(parameters, {"a": True, "b": 0.5}) == {"a": "true", "b": "0.5", "c": "7"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: a_spec(), r"arguments\.day: it has no value; give it one \(--set day=VALUE\), or a default"),
        (lambda: a_spec(day="x", hour="y"), r"arguments\.hour: the job has no such parameter; it has day"),
        (lambda: a_spec(parameters={}, day="x"), r"arguments\.day: the job has no such parameter; it has none"),
        (lambda: a_spec("${parameters.hour}", day="x"), r"task\.command\[1\]: \$\{parameters\.hour\} is not declared"),
        (lambda: a_spec(env={"A": "${parameters.h}"}, day="x"), r"task\.env\.A: \$\{parameters\.h\} is not declared"),
        (lambda: a_spec(env={"A": "${HOME}"}, day="x"), r"task\.env\.A: of expressions there is only"),
        (lambda: a_spec(env={"A": "${parameters.h}"}, parameters={}), r"is not declared; add it to parameters"),
        (lambda: a_spec("${inputs.day}", day="x"), r"only \$\{parameters\.NAME\} is supported"),
        (lambda: a_spec(parameters={"Day": DAY}), "a parameter's name is"),
        (lambda: a_spec(parameters={f"p{n}": DAY for n in range(PARAMETERS_MAX + 1)}), "parameters holds at most 64"),
        (lambda: Parameter(type=INTEGER, maxLength=3), "maxLength is of type: string"),
        (lambda: Parameter(type=STRING, maxLength=4097), "maxLength is of type: string, 0 to 4096"),
        (lambda: Parameter(type=INTEGER, default="1"), "default is of type integer; got '1'"),
        (lambda: Parameter(type=INTEGER, enum=("1",)), "a value of enum is of type integer"),
        (lambda: Parameter(type=INTEGER, enum=(1,), default=2), "default is one of 1; got 2"),
        (lambda: Parameter(type=INTEGER, enum=tuple(range(ENUM_MAX + 1))), "enum holds at most 100 values"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place_and_the_fix(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
