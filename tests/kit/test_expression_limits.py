"""That no expression takes long or much room, whoever wrote it and whatever it is given."""

import resource
import time
from typing import Any

import pytest

from harpoon.kit.errors import Invalid
from harpoon.kit.expression import Failed, Names, compile_template
from harpoon.kit.expression_cost import VALUES_MAX
from harpoon.kit.expression_json import NoJson, to_json
from harpoon.kit.expression_pattern import PATTERN_MAX, weigh
from harpoon.kit.expression_program import _environment

NAMES = Names(inputs={"s": {"type": "string"}, "xs": {"type": "array"}, "o": {"type": "object"}}, ops={"a"})
MIB = 1 << 20


def value_of(text: str, **inputs: Any) -> Any:
    return compile_template("${" + text + "}", NAMES).value({"inputs": inputs})


def orders(count: int, lines: int) -> list[dict[str, Any]]:
    return [{"id": f"o-{number}", "rate": 2, "lines": [{"price": 3}] * lines} for number in range(count)]


def test_what_expressions_are_for_is_within_the_limits() -> None:
    assert len(value_of("inputs.xs.map(x, x + 1)", xs=list(range(1_400)))) == 1_400
    assert len(value_of("inputs.xs.filter(o, o.rate > 1)", xs=orders(1_000, 3))) == 1_000
    assert value_of("inputs.xs.all(x, x >= 0)", xs=list(range(9_999))) is True
    nested = value_of("inputs.xs.map(o, o.lines.map(l, l.price * o.rate))", xs=orders(300, 5))
    assert nested == [[6] * 5] * 300
    assert value_of("inputs.o.all(k, inputs.o[k] == 1)", o={f"k{number}": 1 for number in range(1_000)}) is True
    assert value_of("inputs.s.size()", s="x" * (VALUES_MAX - 100)) == VALUES_MAX - 100


@pytest.mark.parametrize(
    ("text", "inputs", "why"),
    [
        ("inputs.xs.map(x, x)", {"xs": list(range(1_600))}, "too much work"),
        ("inputs.xs.map(x, inputs.s)", {"xs": list(range(1_000)), "s": "x" * 20_000}, "too much work"),
        ("inputs.xs.all(x, inputs.s.size() > 0)", {"xs": list(range(9_000)), "s": "x" * 60_000}, "too much work"),
        ("inputs.xs.map(x, inputs.xs + inputs.xs)", {"xs": list(range(1_000))}, "too much work"),
        ("inputs.xs.map(x, [1, 2].map(y, inputs.s))", {"xs": list(range(500)), "s": "x" * 30_000}, "too much work"),
        ("(inputs.xs + inputs.xs).map(x, x)", {"xs": list(range(800))}, "too much work"),
        ("inputs.xs.map(x, inputs.xs).map(y, y.map(z, z))", {"xs": list(range(300))}, "too much work"),
        ("inputs.xs.all(x, inputs.xs.all(y, true))", {"xs": list(range(101))}, "more than 10000 rounds"),
        ("inputs.xs.all(x, true)", {"xs": list(range(10_001))}, "more than 10000 rounds"),
        ("[" + ", ".join(["inputs.s"] * 400) + "]", {"s": "x" * 50_000}, "too much work"),
        ("inputs.xs.all(x, 'ab'.matches('" + "ab" * 100 + "'))", {"xs": list(range(1_000))}, "too much work"),
        ("inputs.s + 'x'", {"s": "x" * VALUES_MAX}, "the values that it uses are larger than 256 KiB"),
        ("inputs.xs + [1]", {"xs": [0] * VALUES_MAX}, "the values that it uses are larger than 256 KiB"),
        ("inputs.xs", {"xs": ["x" * 1_000] * 1_100}, "the result is larger than 1 MiB"),
        ("inputs.xs.map(x, inputs.xs)", {"xs": list(range(700))}, "the result is larger than 1 MiB"),
    ],
)
def test_an_evaluation_that_would_take_too_much_is_refused(text: str, inputs: dict[str, Any], why: str) -> None:
    began, most_kib = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Failed) as caught:
        value_of(text, **inputs)
    assert why in str(caught.value)
    assert time.process_time() - began < 5, "0.1 s, if nothing else runs"
    # Tests before this one have their share in the most that the process ever took.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most_kib < 500_000


def test_a_template_of_many_large_values_is_refused() -> None:
    template = compile_template(["${inputs.s}"] * 20, NAMES)
    assert len(template.value({"inputs": {"s": "x" * 50_000}})) == 20
    with pytest.raises(Failed, match=r"/19: .*what it is part of is larger than 1 MiB"):
        template.value({"inputs": {"s": "x" * (MIB // 20 - 10)}})
    with pytest.raises(Failed, match="what it is part of is larger than 1 MiB"):
        compile_template("${inputs.s} ${inputs.s}", NAMES).value({"inputs": {"s": "x" * (MIB * 2 // 3)}})


def test_a_value_that_is_nested_too_deep_fails() -> None:
    deep: Any = 1
    for _ in range(130):
        deep = [deep]
    with pytest.raises(Failed, match="nested deeper than 128 lists and mappings"):
        value_of("dyn(inputs.xs)", xs=deep)
    for _ in range(200):
        deep = {"a": deep}
    with pytest.raises(Failed, match="the result is no JSON"):
        value_of("inputs.o", o=deep)
    with pytest.raises(Failed, match="not one of JSON"):
        value_of("dyn(inputs.o)", o=deep)


def test_what_the_library_writes_too_long_is_not_converted() -> None:
    program = _environment().compile("[_64, _64, _64, _64, _64]")
    with pytest.raises(NoJson, match="larger than 1 MiB"):
        to_json(program.eval(data={"_64": "x" * MIB}))


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"(?i)^(order|invoice)-\d+$",
        r"^\p{L}+( \p{L}+)*$",
        r"[[:alpha:]]{3}[^\]]{2,5}a{2,}",
        ")",
        "(",
    ],
)
def test_patterns_that_people_write_are_light(pattern: str) -> None:
    assert isinstance(weigh(pattern), int)


@pytest.mark.parametrize("pattern", [r"(?i)\pL{300}", r"[\pL\pN]{100}", ".{1000}", "((a{30}){10}){10}", "(a{500}){9}"])
def test_patterns_that_take_long_to_compile_are_refused(pattern: str) -> None:
    assert weigh(pattern) == "repeats too much; write smaller numbers in {}"
    with pytest.raises(Invalid, match=r"the pattern of matches\(\) repeats too much"):
        value_of(f"inputs.s.matches(r'{pattern}')")


def test_long_patterns_are_refused() -> None:
    assert weigh("a" * (PATTERN_MAX + 1)) == "is longer than 256 characters; make it shorter"


def test_compiling_the_same_again_costs_next_to_nothing() -> None:
    compile_template("${inputs.s + 'x'}", NAMES)
    began = time.process_time()
    for _ in range(10_000):
        compile_template("${inputs.s + 'x'}", NAMES)
    assert time.process_time() - began < 3, "0.12 s, if nothing else runs"


def test_only_so_many_expressions_are_remembered() -> None:
    names = Names(ops=frozenset({"a"}))
    for number in range(8_200):
        compile_template(f"${{ops.a.output.n{number}}}", names)
    assert len(names.compiled) == 8
    assert compile_template("${ops.a.output.n1}", names).value({"ops": {"a": {"output": {"n1": 2}}}}) == 2


def test_evaluating_is_fast() -> None:
    template = compile_template("${inputs.s.size() > 3}", NAMES)
    began = time.process_time()
    for _ in range(10_000):
        template.value({"inputs": {"s": "xxxx"}})
    assert time.process_time() - began < 3, "0.12 s, if nothing else runs"
