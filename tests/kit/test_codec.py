"""Nouns to bytes and back."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.kit.codec import canonical, decode, dump, dump_full, load
from harpoon.kit.errors import Invalid
from harpoon.model.agent import Agent, Link, PortRange
from harpoon.model.decision import Pending
from harpoon.model.job import Dependency, Job, Metadata, Spec, Update, Version
from harpoon.model.manifest import Manifest
from harpoon.model.rules import Preference, Requirement
from harpoon.model.task import Placement, Task, TaskState
from harpoon.model.template import (
    Backoff,
    Check,
    Endpoints,
    ExecProbe,
    HttpProbe,
    OnChange,
    Resources,
    Restart,
    TaskTemplate,
    TcpProbe,
)
from harpoon.model.token import Token
from harpoon.model.units import Cpu, Duration, Size
from harpoon.model.wire import Adopt, Changed, Commands, Results, Snapshot

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
NAMES = st.text("abcdefghij", min_size=1, max_size=6)
PORTS = st.dictionaries(NAMES, st.just(0), max_size=3)
STORED = [Job, Version, Placement, Pending, Agent, Link, Task, Manifest]
SENT = [Snapshot, Changed, Adopt, Commands, Results]

#: Types that the field alone does not describe.
SPECIAL: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    bool: st.booleans(),
    int: st.integers(-(1 << 63), (1 << 63) - 1),
    Duration: st.integers(1000, 3650 * 86_400_000).map(lambda count: timedelta(milliseconds=count)),
    Size: st.integers(0, 1 << 60),
    Cpu: st.integers(0, 999_999_000),
    HttpProbe: st.builds(HttpProbe, port=st.just("http"), path=st.just("/") | st.just("/health?deep=1")),
    PortRange: st.builds(PortRange, low=st.integers(1, 100), high=st.integers(100, 65535)),
    Requirement: st.builds(Requirement, tag=TEXT, in_=st.lists(TEXT).map(tuple))
    | st.builds(Requirement, tag=TEXT, exists=st.booleans())
    | st.builds(Requirement, tag=TEXT, equals=TEXT),
    Preference: st.builds(Preference, tag=TEXT, not_in=st.lists(TEXT).map(tuple), weight=st.integers(1, 100)),
    Endpoints: st.builds(Endpoints, endpoints=st.just("api/http"), on_change=st.sampled_from(OnChange)),
    ExecProbe: st.builds(ExecProbe, command=st.just(("true", "$HOME"))),
    TcpProbe: st.just(TcpProbe(port="http")),
    Dependency: st.builds(Dependency, job=NAMES),
}
#: Fields whose noun allows less than their type: noun → field → values.
NARROW: dict[Any, dict[str, st.SearchStrategy[Any]]] = {
    Agent: {"name": NAMES, "endpoint": st.just("http://127.0.0.1:4451")},
    Metadata: {"name": NAMES, "namespace": NAMES, "tags": st.dictionaries(NAMES, TEXT, max_size=3)},
    Spec: {
        "scale": st.integers(0, 10_000),
        "depends_on": st.lists(SPECIAL[Dependency], max_size=2, unique_by=lambda one: one.job).map(tuple),
        # It excludes some of what the others may be; tried apart.
        "exclusive": st.just(False),
    },
    Update: {"surge": st.integers(1, 9), "unavailable": st.integers(0, 9)},
    Check: {"ready_after": st.integers(1, 100), "fail_after": st.integers(1, 100)},
    Restart: {"attempts": st.integers(0, 1000)},
    Backoff: {
        "initial": st.just(timedelta(seconds=1)),
        "factor": st.floats(1, 100) | st.integers(1, 100),
        "jitter": st.floats(0, 1),
    },
    TaskTemplate: {
        "command": st.lists(st.just("python3") | st.just("$PORT_HTTP"), min_size=1, max_size=3).map(tuple),
        "env": st.dictionaries(NAMES, TEXT | SPECIAL[Endpoints], max_size=3),
        "ports": PORTS.map(lambda ports: {**ports, "http": 8080}),
        "working_directory": st.none() | st.just("/srv"),
    },
}


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    if hint in SPECIAL:
        return SPECIAL[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return st.one_of([of_type(argument) for argument in arguments])
    if origin is tuple:
        return st.lists(of_type(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(of_type(arguments[0]), of_type(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    if hint is type(None):
        return st.none()
    return nouns(getattr(hint, "__supertype__", hint))


def nouns(kind: Any) -> st.SearchStrategy[Any]:
    if kind in SPECIAL:
        return SPECIAL[kind]
    hints = get_type_hints(kind, include_extras=True)
    narrow = NARROW.get(kind, {})
    if kind is Check:
        return st.one_of([checks(hints, narrow, probe) for probe in ("http", "tcp", "exec_")])
    return st.builds(
        kind, **{f.name: narrow[f.name] if f.name in narrow else of_type(hints[f.name]) for f in fields(kind)}
    )


def checks(hints: Any, narrow: Any, probe: str) -> st.SearchStrategy[Any]:
    """Checks with just one kind of probe."""
    others = {name: st.none() for name in ("http", "tcp", "exec_") if name != probe}
    one = {probe: SPECIAL[{"http": HttpProbe, "tcp": TcpProbe, "exec_": ExecProbe}[probe]]}
    rest = {f.name: narrow.get(f.name, of_type(hints[f.name])) for f in fields(Check) if f.name not in {*others, probe}}
    return st.builds(Check, **others, **one, **rest)


def a_task(**changes: Any) -> Task:
    return Task(**{"id": "default.web.0.1-42", "agent": "a1", "generation": "g", "state": TaskState.RUNNING} | changes)


def a_template(**changes: Any) -> TaskTemplate:
    return TaskTemplate(**{"command": ("python3",)} | changes)


@pytest.mark.parametrize("kind", STORED + SENT, ids=lambda kind: kind.__name__)
def test_what_is_written_reads_back_as_it_was(kind: Any) -> None:
    @settings(max_examples=25, deadline=None)
    @given(nouns(kind))
    def check(noun: Any) -> None:
        for data in (dump(noun), dump_full(noun), canonical(noun)):
            assert load(kind, data) == noun
            assert decode(kind, data) == noun

    check()


@settings(max_examples=50, deadline=None)
@given(nouns(TaskTemplate), st.randoms(use_true_random=False))
def test_canonical_bytes_do_not_depend_on_how_a_template_was_spelled(template: TaskTemplate, random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    spelled = orjson.dumps(shuffled(orjson.loads(dump_full(template))))
    assert canonical(decode(TaskTemplate, spelled)) == canonical(template)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"command":["a"],"stop":{"grace":"10000ms"}}', '{"command":["a"]}'),
        ('{"command":["a"],"stop":{"grace":"7200s"}}', '{"command":["a"],"stop":{"grace":"2h"}}'),
        ('{"command":["a"],"resources":{"cpu":0.5}}', '{"command":["a"],"resources":{"cpu":"500m"}}'),
        ('{"command":["a"],"resources":{"memory":"1Gi"}}', '{"command":["a"],"resources":{"memory":1073741824}}'),
        (
            '{"command":["a"],"restart":{"backoff":{"factor":3}}}',
            '{"command":["a"],"restart":{"backoff":{"factor":3.0}}}',
        ),
        (
            '{"command":["a"],"restart":{"backoff":{"jitter":0}}}',
            '{"command":["a"],"restart":{"backoff":{"jitter":-0.0}}}',
        ),
        ('{"command":["a"],"driver":"process","env":{},"checks":[],"restart":{}}', '{"command":["a"]}'),
        ('{"ports":{"b":0,"a":0},"command":["a"]}', '{"command":["a"],"ports":{"a":0,"b":0}}'),
    ],
)
def test_spellings_of_the_same_template_hash_alike(one: str, other: str) -> None:
    first, second = decode(TaskTemplate, one.encode()), decode(TaskTemplate, other.encode())
    assert canonical(first) == canonical(second)


def test_a_whole_number_given_to_a_float_in_code_hashes_like_the_float() -> None:
    assert dump(Backoff(factor=3)) == dump(Backoff(factor=3.0)) == b'{"factor":3.0}'


def test_fields_at_their_default_are_left_out_and_the_kind_of_a_command_is_not() -> None:
    assert dump(a_task()) == b'{"id":"default.web.0.1-42","agent":"a1","generation":"g","state":"running"}'
    sent = b'{"kind":"stop","task":"t","reason":"scaled down"}'
    commands = b'{"token":{"incarnation":1,"revision":2},"instance":"i","uid":"u","commands":[%s]}' % sent
    assert orjson.loads(dump(load(Commands, commands))) == orjson.loads(commands)


def test_the_full_form_has_every_field_in_the_units_users_write() -> None:
    full = orjson.loads(dump_full(a_template(resources=Resources(cpu=250, memory=1 << 20))))
    assert full["resources"] == {"cpu": "250m", "memory": "1Mi"}
    assert full["stop"] == {"drain": "1s", "signal": "TERM", "grace": "10s"}
    assert full["working_directory"] is None


def test_a_trailing_underscore_is_dropped_outside() -> None:
    rule = Requirement(tag="zone", in_=("a", "b"))
    assert dump(rule) == b'{"tag":"zone","in":["a","b"]}'
    assert decode(Requirement, dump(rule)) == rule
    with pytest.raises(Invalid, match="unknown field 'in_'; did you mean 'in'"):
        decode(Requirement, b'{"tag":"zone","in_":["a"]}')


def test_lists_and_mappings_of_nouns_can_be_written() -> None:
    token = Token(incarnation=1, revision=2)
    assert dump({"tokens": [token, (token,)]}) == (
        b'{"tokens":[{"incarnation":1,"revision":2},[{"incarnation":1,"revision":2}]]}'
    )


def test_what_is_no_noun_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        dump({"span": timedelta(seconds=1)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    once: Duration | None = None
    several: tuple[Duration, ...] = ()
    named: Mapping[str, Size] | None = None
    cores: Mapping[str, tuple[Cpu, ...]] | None = None


def test_units_are_written_as_text_wherever_they_stand() -> None:
    spans = Spans(once=timedelta(seconds=90), several=(timedelta(0),), named={"a": 1 << 30}, cores={"b": (500,)})
    written = b'{"once":"90s","several":["0s"],"named":{"a":"1Gi"},"cores":{"b":["500m"]}}'
    assert dump(spans) == written
    assert decode(Spans, written) == spans
    assert dump_full(Spans()) == b'{"once":null,"several":[],"named":null,"cores":null}'


def test_loading_ignores_what_a_newer_release_wrote_and_fills_in_what_is_absent() -> None:
    task = load(Task, b'{"id":"t","agent":"a","generation":"g","state":"lost","zeal":{"deep":[1]},"v":2}')
    assert task == a_task(id="t", agent="a", state=TaskState.LOST, v=2)
    assert load(Link, b'{"agent":"a","state":"lost","since_ms":1}').v == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"null", "not a Task: null"),
        (b"[]", "not a Task: : Input should be"),
        (b'{"id":"t","agent":"a","generation":"g","state":"dancing"}', "not a Task: /state: Input should be"),
        (b"{", "not a Task: : Invalid JSON"),
        (b"", "not a Task"),
        (b'{"id":"\xff"}', "not a Task"),
    ],
)
def test_loading_something_else_is_invalid(data: bytes, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        load(Task, data)
    assert str(caught.value).startswith(message)


@settings(max_examples=200, deadline=None)
@given(st.binary() | TEXT.map(str.encode), st.sampled_from([Manifest, Task, Commands, dict[str, int], int]))
def test_no_bytes_raise_anything_but_invalid(data: bytes, kind: Any) -> None:
    for read in (load, decode):
        try:
            read(kind, data)
        except Invalid as error:
            assert str(error)


class Pair(NamedTuple):
    left: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cat:
    lives: int
    kind: Literal["cat"] = "cat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dog:
    tricks: tuple[str, ...]
    kind: Literal["dog"] = "dog"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoo:
    animals: tuple[Cat | Dog, ...] = ()
    either: int | str | None = None
    pair: Pair | None = None
    seen: frozenset[str] = frozenset()
    ages: Annotated[tuple[int, ...], "years"] = ()


def test_the_members_of_a_union_are_no_part_of_the_pointer() -> None:
    with pytest.raises(Invalid) as caught:
        decode(Zoo, b'{"animals":[{"kind":"cat","lives":"nine"}],"either":1.5,"ages":["1"]}')
    told = {(problem.pointer, problem.detail) for problem in caught.value.problems}
    assert ("/animals/0/lives", "expected a whole number, got text 'nine'") in told
    assert ("/ages/0", "expected a whole number, got text '1'") in told
    assert ("/either", "expected text, got a number; put it in quotes") in told


def test_what_has_no_plain_words_is_told_in_the_library_s() -> None:
    with pytest.raises(Invalid) as caught:
        decode(Zoo, b'{"seen":3,"pair":[1,"2"]}')
    assert [problem.pointer for problem in caught.value.problems] == ["/pair/1", "/seen"]
    assert caught.value.problems[1].detail == "Input should be a valid array"


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "1" * 21, "1" * 5000])
def test_a_number_that_could_not_be_written_again_is_not_read(number: str) -> None:
    with pytest.raises(Invalid, match="not a Cat"):
        load(Cat, b'{"lives":%s,"kind":"cat"}' % number.encode())


def test_a_long_number_that_fits_is_read() -> None:
    assert load(Cat, b'{"lives":9223372036854775807,"kind":"cat"}').lives == (1 << 63) - 1
