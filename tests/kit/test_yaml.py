"""Files of documents."""

import json
import time
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.kit.errors import Invalid
from harpoon.kit.yaml import ALIASED_MAX, NODES_MAX, SIZE_MAX, load_documents, locate, to_json

MIB = 1 << 20
JOBS = """\
# two jobs
apiVersion: harpoon/v1
metadata: {name: web, tags: {team/a~b: shop}}
spec:
  task:
    command: ["python3", "-m", "http.server"]
    checks:
      - http: {port: http}
        every: 2s
      -   every: 3s
---
kind: Job
spec: &spec
  scale: 3
again: *spec
"""


def values(text: str | bytes) -> list[Any]:
    return [document.value for document in load_documents(text, "jobs.yaml")]


def refused(text: str | bytes) -> Invalid:
    with pytest.raises(Invalid) as caught:
        load_documents(text, "jobs.yaml")
    return caught.value


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def _both_parsers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "SafeLoader":
        monkeypatch.delattr(yaml, "CSafeLoader")


@pytest.mark.usefixtures("_both_parsers")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nuLL", "nuLL"),
        ("true", True), ("True", True), ("FALSE", False), ("tRUE", "tRUE"),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("22:22", "22:22"), ("2024-01-01", "2024-01-01"),
        ("0", 0), ("012", 12), ("-0", 0), ("+7", 7), ("0o17", 15), ("0x1F", 31), ("0b11", "0b11"), ("1_000", "1_000"), ("0o8", "0o8"),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("-1.5E-2", -0.015), ("1e", "1e"), ("+", "+"), (".", "."), ("1.2.3", "1.2.3"),
        ('"1"', "1"), ("'no'", "no"), ('""', ""), ('"~"', "~"), ('"\\U0001F600\\n"', "😀\n"), ("64Mi", "64Mi"), ("2s", "2s"), ("=", "="),
        ("a b\n  c", "a b c"), ("|\n  a\n  b\n", "a\nb\n"), (">-\n  a\n  b\n", "a b"), ("😀", "😀"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_the_core_schema(text: str, value: object) -> None:
    (found,) = values(f"a: {text}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


@pytest.mark.usefixtures("_both_parsers")
@pytest.mark.parametrize(
    ("text", "place", "detail"),
    [
        ("a: 1\nb: 2\na: 3", "3:1", "the field 'a' stands twice, first in line 1; keep one"),
        ("a: {b: 1, b: 2}", "1:11", "the field 'b' stands twice, first in line 1; keep one"),
        ("a: .nan", "1:4", ".nan is not a number that JSON has"),
        ("- -.INF", "1:3", "-.INF is not a number that JSON has"),
        ("a: 1e400", "1:4", "a number beyond 64 bits; write it as text, or smaller"),
        ("a: 9223372036854775808", "1:4", "a number beyond 64 bits; write it as text, or smaller"),
        ("a: " + "1" * 100_000, "1:4", "a number beyond 64 bits; write it as text, or smaller"),
        ("1: a", "1:1", "the name of a field is text; put it in quotes, such as '1'"),
        ("{true: a}", "1:2", "the name of a field is text; put it in quotes, such as 'true'"),
        ("? [a]\n: 1", "1:3", "the name of a field is text; put it in quotes"),
        ("? \n: 1", "1:2", "the name of a field is text; put it in quotes"),
        ("a: &b [1]\n? *b\n: 1", "2:3", "the name of a field is text; put it in quotes"),
        ("a: &b {c: 1}\nd:\n  <<: *b", "3:3", "merge keys (<<) are not read; write the fields out"),
        ('a: !!python/object/apply:os.system ["id"]', "1:4", "the tag '!!python/object/apply:os.system'; tags are not read, write the value plainly"),
        ("a: !!str 1", "1:4", "the tag '!!str'; tags are not read, write the value plainly"),
        ("a: ! 1", "1:4", "the tag '!'; tags are not read, write the value plainly"),
        ("!env {}", "1:1", "the tag '!env'; tags are not read, write the value plainly"),
        ("%TAG ! tag:x,1:\n--- a", "1:5", "tags are not read; remove the %TAG line"),
        ("%YAML 1.1\n--- a", "1:1", "expected YAML 1.2; remove the %YAML line"),
        ("a: &a [*a]", "1:8", "the alias *a stands inside of what it names"),
        ("a: &a {b: {c: [1, *a]}}", "1:19", "the alias *a stands inside of what it names"),
        ("a: *b", "1:4", "the alias *b names nothing above it in this document"),
        ("a: &b 1\n---\nc: *b", "3:4", "the alias *b names nothing above it in this document"),
        ('a: "\\0"', "1:4", "holds a NUL character; remove it"),
        ("[" * 33 + "]" * 33, "1:33", "nested deeper than 32 lists and mappings; make it flatter"),
        ("- &a [[[1]]]\n- " + "[" * 29 + "*a" + "]" * 29, "2:32", "nested deeper than 32 lists and mappings; make it flatter"),
        ("- &a [[[1]]]\n- &b [*a]\n- " + "[" * 28 + "*b" + "]" * 28, "3:31", "nested deeper than 32 lists and mappings; make it flatter"),
        ("a: b\x07", "1:5", "the character U+0007; remove it, or write it as an escape in double quotes"),
        ("a: 1\nb: \x00", "2:4", "the character U+0000; remove it, or write it as an escape in double quotes"),
        ("a: \u2028", "1:4", "the character U+2028; remove it, or write it as an escape in double quotes"),
        ("a: \ud800", "1:4", "the character U+D800; remove it, or write it as an escape in double quotes"),
        (b"a: 1\nb: \xff", "2:4", "not UTF-8 text; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "1:1", "not UTF-8 text; save the file as UTF-8"),
        ("a:\n\tb: 1", "2:1", "a tab; indent with spaces"),
        ("x" * (SIZE_MAX + 1), "1:1", "larger than 1 MiB; split the file"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line_and_column(text: str | bytes, place: str, detail: str) -> None:
    error = refused(text)
    assert [(problem.pointer, problem.detail) for problem in error.problems] == [(f"jobs.yaml:{place}", detail)]
    assert str(error) == f"jobs.yaml:{place}: {detail}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "jobs.yaml:1:5: a ':' in the wrong place; put the text in quotes, or indent"),
        ("a: @b", "jobs.yaml:1:4: this character cannot start a value; put the text in quotes"),
        ("a: 1\n b: 2", "jobs.yaml:2:3: a ':' in the wrong place"),
        (
            "a:\n  b: 1\n c: 2",
            "jobs.yaml:3:2: expected a field; check the indentation (while parsing a block mapping that starts",
        ),
        ("- a\nb: 1", "jobs.yaml:2:1: expected '- ' and another item"),
        ('a: "b', "jobs.yaml:1:6: a text is not closed"),
        ("a: [1", "jobs.yaml:2:1: did not find expected ',' or ']'"),
        ("{a: 1} x", "jobs.yaml:1:8: expected the end of the document"),
        ('{"a": "\\ud83d"}', "jobs.yaml:1:10: found invalid Unicode character escape code"),
    ],
)
def test_a_fault_of_syntax_says_what_would_be_right(text: str, message: str) -> None:
    assert str(refused(text)).startswith(message)


def test_what_the_slow_parser_chokes_on_is_invalid_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert str(refused('a: "\\U00110000"')) == "jobs.yaml:1:1: cannot be read as YAML"


def test_all_faults_are_told_up_to_a_limit() -> None:
    error = refused("a: 1\na: .nan\n2: <<\nb: [")
    assert [problem.pointer.partition(":")[2] for problem in error.problems] == ["2:1", "2:4", "3:1", "5:1"]
    assert str(error).endswith("(and 3 more)")
    assert len(refused("a: 1\n" * 1000).problems) == 100
    assert len(refused("a: 1\n" * 100 + "b: [").problems) == 100


def test_a_file_holds_several_documents_and_empty_ones_do_not_count() -> None:
    assert values(JOBS)[1] == {"kind": "Job", "spec": {"scale": 3}, "again": {"scale": 3}}
    assert values("") == values("# nothing\n") == values("---\n---\n...\n") == []
    assert values("--- a\n---\n--- ~\n--- [b]\n") == ["a", None, ["b"]]
    assert values(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n") == [{"a": 1, "b": 2}]


def test_every_value_has_a_place() -> None:
    first, second = load_documents(JOBS.encode(), "jobs.yaml")
    places = {
        "": "2:1",
        "/apiVersion": "2:1",
        "/metadata/tags": "3:23",
        "/metadata/tags/team~1a~0b": "3:30",
        "/spec/task/command/1": "6:26",
        "/spec/task/checks/0/every": "9:9",
        "/spec/task/checks/1": "10:11",
        "/spec/task/checks/1/every": "10:11",
        "/spec/task/checks/1/http": "10:11",
        "/spec/task/nothing/of/this": "5:3",
        "/nothing": "2:1",
    }
    assert {pointer: locate(first, pointer) for pointer in places} == {p: f"jobs.yaml:{at}" for p, at in places.items()}
    assert locate(second, "/spec/scale") == "jobs.yaml:14:3"
    assert locate(second, "/again/scale") == "jobs.yaml:15:1"


def test_documents_are_written_as_json() -> None:
    (document,) = load_documents("a: [1, 2.5, no, ~, true]\nb: &b {c: x}\nd: *b", "jobs.yaml")
    assert to_json(document) == b'{"a":[1,2.5,"no",null,true],"b":{"c":"x"},"d":{"c":"x"}}'


def test_merge_and_anchor_signs_in_quotes_are_text() -> None:
    assert values('"<<": "*a"\n&k key: &v value\nx: *v') == [{"<<": "*a", "key": "value", "x": "value"}]


def test_an_alias_may_reach_as_deep_as_anything() -> None:
    assert values("- &a [[[1]]]\n- " + "[" * 28 + "*a" + "]" * 28)


def test_an_anchor_can_be_used_again() -> None:
    assert values("- &a 1\n- *a\n- &a 2\n- *a") == [[1, 1, 2, 2]]


def test_aliases_cannot_make_a_small_file_large() -> None:
    laughs = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    laughs += [
        f"{name}: &{name} [{','.join(['*' + before] * 9)}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    detail = f"aliases stand for more than {ALIASED_MAX} values; write fewer of them"
    assert refused("\n".join(laughs)).problems[0].detail == detail
    assert refused(f"a: &a {'x' * 500_000}\nb: [{'*a,' * 10}]").problems[0].detail == detail
    assert refused("- &a b\n" + "- *a\n" * (ALIASED_MAX + 1)).problems[0].pointer == f"jobs.yaml:{ALIASED_MAX + 2}:3"
    assert len(values("- &a b\n" + "- *a\n" * ALIASED_MAX)[0]) == ALIASED_MAX + 1


HOSTILE = {
    "dashes": "- " * (MIB // 2),
    "items": "- \n" * (MIB // 3),
    "brackets": "[" * MIB,
    "braces": "{" * MIB,
    "pairs": "[" + "[]," * (MIB // 3 - 1) + "]",
    "questions": "? " * (MIB // 2),
    "colons": ":" * MIB,
    "quotes": "'" * (MIB - 1),
    "fields": "{" + "a: b," * (MIB // 5 - 1) + "}",
    "documents": "---\n" * (MIB // 4),
    "directives": "".join(f"%TAG !a{index}! b\n" for index in range(MIB // 16)),
    "tabs": "\t" * MIB,
    "ladder": "".join(" " * depth + "a:\n" for depth in range(1400)),
    "open flow": "{" + "a\n" * (MIB // 2 - 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_time(name: str) -> None:
    before = time.process_time()
    refused(HOSTILE[name])
    assert time.process_time() - before < 5


def test_a_file_has_so_many_values_at_most() -> None:
    assert refused("[" + "1," * NODES_MAX + "]").problems[0].detail == f"more than {NODES_MAX} values; split the file"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            # YAML knows no name of more than 1024 characters in such a mapping.
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(JSON, st.sampled_from([None, 2]))
def test_json_is_read_as_json(value: object, indent: int | None) -> None:
    (document,) = load_documents(json.dumps({"a": value}, indent=indent), "jobs.json")
    assert document.value == {"a": value}
    assert orjson.loads(to_json(document)) == document.value


@settings(max_examples=300, deadline=None)
@given(st.text("ab:-[]{},&*!'\"\\ \n\t#|>%?@<.0~", max_size=40) | st.text() | st.binary())
def test_no_text_raises_anything_but_invalid(text: str | bytes) -> None:
    try:
        documents = load_documents(text, "jobs.yaml")
    except Invalid as error:
        assert str(error).startswith("jobs.yaml:")
    else:
        for document in documents:
            orjson.loads(to_json(document))


@settings(max_examples=150, deadline=None)
@given(st.text("ab:-[]{},&*!' \n#|>?<.0~", max_size=30))
def test_both_parsers_read_alike(text: str) -> None:
    def outcome() -> list[Any] | None:
        try:
            return values(text)
        except Invalid:
            return None

    fast = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader")
        slow = outcome()
    if fast is not None and slow is not None:
        assert fast == slow
