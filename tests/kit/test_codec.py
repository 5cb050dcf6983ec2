"""Nouns to bytes and back."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.kit.codec import canonical, decode, dump, dump_full, load, read_value
from harpoon.kit.errors import Invalid
from harpoon.model.agent import Agent, Capacity, Link, PortRange
from harpoon.model.check import Check, ExecProbe, HttpProbe, TcpProbe
from harpoon.model.container import Pull
from harpoon.model.cron import Cron, CronRecord, Expression, Timezone
from harpoon.model.decision import Pending
from harpoon.model.dependency import Dependency
from harpoon.model.given import Endpoints, OnChange, SecretFile, SecretVariable
from harpoon.model.job import Job, JobType, Metadata, Spec, Update, Version
from harpoon.model.lifecycle import Backoff, Restart
from harpoon.model.manifest import Manifest
from harpoon.model.parameters import Parameter, ParameterType
from harpoon.model.rules import PlacementRules, Preference, Requirement
from harpoon.model.run_plan import Planned
from harpoon.model.secret import Secret
from harpoon.model.sensitive import Delivered, Sensitive
from harpoon.model.task import Placement, Reservation, Task, TaskState
from harpoon.model.template import PIDS_MAX, Driver, Resources, TaskTemplate
from harpoon.model.token import Token
from harpoon.model.units import Cpu, Duration, FileMode, Size
from harpoon.model.volumes import Artifact, ArtifactMode, HostPath, Volume
from harpoon.model.wire import Adopt, Changed, Commands, Results, Snapshot

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
NAMES = st.text("abcdefghij", min_size=1, max_size=6)
AMOUNTS = st.dictionaries(NAMES, st.integers(0, 10**9), max_size=3)
PORTS = st.dictionaries(NAMES, st.just(0), max_size=3)
STORED = [Job, Version, Placement, Pending, Agent, Link, Task, Manifest, Secret, Cron, CronRecord]
SENT = [Snapshot, Changed, Adopt, Commands, Results]

#: Types that the field alone does not describe.
SPECIAL: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    bool: st.booleans(),
    int: st.integers(-(1 << 63), (1 << 63) - 1),
    Duration: st.integers(1000, 3650 * 86_400_000).map(lambda count: timedelta(milliseconds=count)),
    Size: st.integers(0, 1 << 60),
    Cpu: st.integers(0, 999_999_000),
    FileMode: st.sampled_from([0o400, 0o440, 0o644]),
    Delivered: st.builds(Sensitive, st.binary(max_size=8)),
    Resources: st.builds(
        Resources,
        cpu=st.integers(0, 999_999_000),
        memory=st.integers(0, 1 << 60),
        pids=st.integers(0, PIDS_MAX),
        named=AMOUNTS,
    ),
    Expression: st.sampled_from(["0 2 * * *", "*/15 * L 2 mon"]),
    Timezone: st.sampled_from(["UTC", "Europe/Berlin", "Etc/GMT+5"]),
    Reservation: st.builds(
        Reservation,
        cpu=st.integers(0, 1 << 40),
        ports=st.lists(st.integers(1, 65535), max_size=2).map(tuple),
        named=AMOUNTS.map(lambda amounts: tuple(sorted(amounts.items()))),
    ),
    Capacity: st.builds(Capacity, cpu=st.integers(0, 999_999_000), memory=st.integers(0, 1 << 60), named=AMOUNTS),
    HttpProbe: st.builds(HttpProbe, port=st.just("http"), path=st.just("/") | st.just("/health?deep=1")),
    PortRange: st.builds(PortRange, low=st.integers(1, 100), high=st.integers(100, 65535)),
    Requirement: st.builds(Requirement, tag=TEXT, in_=st.lists(TEXT).map(tuple))
    | st.builds(Requirement, tag=TEXT, exists=st.booleans())
    | st.builds(Requirement, tag=TEXT, equals=TEXT),
    Preference: st.builds(Preference, tag=TEXT, not_in=st.lists(TEXT).map(tuple), weight=st.integers(1, 100)),
    Endpoints: st.builds(Endpoints, endpoints=st.just("api/http"), on_change=st.sampled_from(OnChange)),
    SecretVariable: st.builds(SecretVariable, secret=st.just("db/password"), on_change=st.sampled_from(OnChange)),
    SecretFile: st.builds(
        SecretFile,
        secret=st.just("db/password"),
        at=NAMES,
        mode=st.sampled_from([0o400, 0o600]),
        on_change=st.sampled_from(OnChange),
    ),
    ExecProbe: st.builds(ExecProbe, command=st.just(("true", "$HOME"))),
    TcpProbe: st.just(TcpProbe(port="http")),
    Dependency: st.builds(Dependency, job=NAMES),
    Parameter: st.builds(Parameter, type=st.just(ParameterType.STRING), default=NAMES)
    | st.builds(Parameter, type=st.just(ParameterType.NUMBER), default=st.floats(-9, 9) | st.integers(-9, 9))
    | st.builds(Parameter, type=st.just(ParameterType.BOOLEAN), default=st.booleans(), enum=st.just((True, False))),
    HostPath: st.builds(HostPath, path=st.just("/srv"), read_only=st.booleans()),
    Volume: st.builds(Volume, at=NAMES.map("/v/{}".format), host=st.just("/srv/db"), read_only=st.booleans())
    | st.builds(Volume, at=NAMES.map("v/{}".format), scratch=st.integers(1, 1 << 60)),
    Artifact: st.builds(
        Artifact,
        url=st.just("https://files.example.org/app.tar.gz"),
        sha256=st.just("5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"),
        at=NAMES.map("a/{}".format),
        mode=st.sampled_from(ArtifactMode),
    ),
}
#: Fields whose noun allows less than their type: noun → field → values.
NARROW: dict[Any, dict[str, st.SearchStrategy[Any]]] = {
    Agent: {
        "name": NAMES,
        "endpoint": st.just("http://127.0.0.1:4451"),
        "drivers": st.lists(NAMES, max_size=2).map(tuple),
    },
    Metadata: {"name": NAMES, "namespace": NAMES, "tags": st.dictionaries(NAMES, TEXT, max_size=3)},
    Spec: {
        "scale": st.integers(0, 10_000),
        "priority": st.integers(0, 100),
        "depends_on": st.lists(SPECIAL[Dependency], max_size=2, unique_by=lambda one: one.job).map(tuple),
        # It excludes some of what the others may be; tried apart.
        "exclusive": st.just(False),
        # Likewise what is of batch jobs only.
        "type": st.just(JobType.SERVICE),
        "completions": st.none(),
        "parallel": st.none(),
        "attempts": st.none(),
        "on_failure": st.none(),
        "deadline": st.none(),
        "keep": st.none(),
        "parameters": st.dictionaries(NAMES, SPECIAL[Parameter], max_size=2),
        "arguments": st.just({}),
        "cron": st.none(),
    },
    PlacementRules: {"agents": st.just(())},
    Cron: {"catch_up": st.integers(10, 168 * 3600).map(lambda count: timedelta(seconds=count))},
    Update: {
        "surge": st.integers(1, 9),
        "unavailable": st.integers(0, 9),
        "canary": st.integers(0, 9),
        "healthy_for": st.integers(0, 999).map(lambda count: timedelta(milliseconds=count)),
        "deadline": st.integers(1, 168).map(lambda count: timedelta(hours=count)),
    },
    Check: {"ready_after": st.integers(1, 100), "fail_after": st.integers(1, 100)},
    Restart: {"attempts": st.integers(0, 1000)},
    Backoff: {
        "initial": st.just(timedelta(seconds=1)),
        "factor": st.floats(1, 100) | st.integers(1, 100),
        "jitter": st.floats(0, 1),
    },
    TaskTemplate: {
        "command": st.lists(st.just("python3") | st.just("$PORT_HTTP"), min_size=1, max_size=3).map(tuple),
        "env": st.dictionaries(NAMES, TEXT | SPECIAL[Endpoints] | SPECIAL[SecretVariable], max_size=3),
        "secrets": st.lists(SPECIAL[SecretFile], max_size=2, unique_by=lambda one: one.at).map(tuple),
        "ports": PORTS.map(lambda ports: {**ports, "http": 8080}),
        "working_directory": st.none() | st.just("/srv"),
        "volumes": st.lists(SPECIAL[Volume], max_size=2, unique_by=lambda one: one.at).map(tuple),
        "artifacts": st.lists(SPECIAL[Artifact], max_size=2, unique_by=lambda one: one.at).map(tuple),
        "user": st.none() | st.sampled_from(["web", "1000", "1000:0"]),
    },
}


#: Of a task's template, what goes with its driver.
OF_PROCESSES: dict[str, st.SearchStrategy[Any]] = {
    "driver": st.just(Driver.PROCESS),
    "image": st.none(),
    "pull": st.just(Pull.MISSING),
    "read_only_root": st.just(False),
    "capabilities": st.just(()),
    "network": st.none(),
}
OF_CONTAINERS: dict[str, st.SearchStrategy[Any]] = {
    "driver": st.just(Driver.DOCKER),
    "command": st.just(()) | st.just(("serve", "$PORT_HTTP")),
    "image": st.just("nginx:1.25"),
    "env": st.dictionaries(NAMES, TEXT | SPECIAL[SecretVariable], max_size=3).map(lambda env: {**env, "HOME": "/srv"}),
    "volumes": st.just(()) | st.just((Volume(host="/srv", at="/data"), Volume(scratch=1, at="/cache"))),
    "artifacts": st.just(()),
    "capabilities": st.just(()) | st.just(("CHOWN", "SETUID")),
    "network": st.none() | st.just("backend"),
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
    if kind is TaskTemplate:
        return st.one_of([templates(hints, narrow | only) for only in (OF_PROCESSES, OF_CONTAINERS)])
    if kind is Check:
        return st.one_of([checks(hints, narrow, probe) for probe in ("http", "tcp", "exec_")])
    return st.builds(
        kind, **{f.name: narrow[f.name] if f.name in narrow else of_type(hints[f.name]) for f in fields(kind)}
    )


def templates(hints: Any, narrow: Any) -> st.SearchStrategy[Any]:
    return st.builds(
        TaskTemplate,
        **{f.name: narrow[f.name] if f.name in narrow else of_type(hints[f.name]) for f in fields(TaskTemplate)},
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
        ('{"command":["a"],"resources":{"named":{}}}', '{"command":["a"]}'),
        (
            '{"command":["a"],"resources":{"named":{"b":1,"a":2}}}',
            '{"command":["a"],"resources":{"named":{"a":2,"b":1}}}',
        ),
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
    assert full["resources"] == {"cpu": "250m", "memory": "1Mi", "pids": 0, "named": {}}
    assert full["stop"] == {"drain": "1s", "signal": "TERM", "grace": "10s"}
    assert full["working_directory"] is None


def test_a_trailing_underscore_is_dropped_outside() -> None:
    rule = Requirement(tag="zone", in_=("a", "b"))
    assert dump(rule) == b'{"tag":"zone","in":["a","b"]}'
    assert decode(Requirement, dump(rule)) == rule
    with pytest.raises(Invalid, match="unknown field 'in_'; did you mean 'in'"):
        decode(Requirement, b'{"tag":"zone","in_":["a"]}')


def test_a_record_from_before_there_were_named_resources_reads_and_is_written_as_it_was() -> None:
    placed = b'{"namespace":"default","job":"web","slot":0,"incarnation":1,"revision":42,"agent":"a1",'
    placed += b'"generation":"g1","version":1,"reason":"r","decided_ms":5,"reserve":{"cpu":100}}'
    old = load(Placement, placed)
    assert old.reserve.named == ()
    assert dump(old) == placed
    new = replace(old, reserve=Reservation(named=(("gpu", 2),)))
    assert load(Placement, dump(new)) == new
    template = b'{"command":["a"],"resources":{"cpu":"100m"}}'
    assert canonical(load(TaskTemplate, template)) == template


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


def test_of_several_nouns_the_one_is_meant_that_the_document_says() -> None:
    for kind, field, near in (("Workflow", "deadlin", "deadline"), ("Batch", "paralel", "parallel")):
        told = {"apiVersion": "harpoon/v1", "kind": kind, "metadata": {"name": "a"}, "spec": {field: 1}}
        with pytest.raises(Invalid) as error:
            decode(Planned, orjson.dumps({"documents": [told]}))
        found = {problem.pointer: problem.detail for problem in error.value.problems}
        assert f"did you mean {near!r}?" in found[f"/documents/0/spec/{field}"]
        assert all(pointer.startswith("/documents/0/spec") for pointer in found)


def test_the_members_of_a_union_are_no_part_of_the_pointer() -> None:
    with pytest.raises(Invalid) as caught:
        decode(Zoo, b'{"animals":[{"kind":"cat","lives":"nine"}],"either":1.5,"ages":["1"]}')
    told = {(problem.pointer, problem.detail) for problem in caught.value.problems}
    assert ("/animals/0/lives", "expected a whole number, got text 'nine'") in told
    assert ("/ages/0", "expected a whole number, got text '1'") in told
    assert ("/either", "expected text, got a number; put it in quotes") in told


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    on: Literal[True] | None = None


def test_true_is_written_as_in_json() -> None:
    with pytest.raises(Invalid, match="/on: expected true, got false"):
        decode(Switch, b'{"on":false}')


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Heap:
    items: tuple[Any, ...] = ()


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize("text", [b"", b"[[[[", b'\\"[[[', b"\\\\", b"\\n\\t"])
def test_many_lists_beside_each_other_are_not_deep(text: bytes) -> None:
    items = b",".join([b'[["%b"],{"a":{}}]' % text] * 40)
    assert len(decode(Heap, b'{"items":[%b]}' % items).items) == 40


@pytest.mark.parametrize("text", [b"", b"]]]]", b'\\"]]]', b"\\\\"])
@pytest.mark.parametrize("levels", [31, 300, 5000])
def test_what_is_too_deep_is_refused_also_among_much_that_is_not(text: bytes, levels: int) -> None:
    filling = b'["%b"],' % text
    with pytest.raises(Invalid, match="nested deeper") as caught:
        decode(Heap, b'{"items":[%b%b]}' % (filling * 40, nested(levels)))
    assert caught.value.problems
    assert decode(Heap, b'{"items":[%b%b]}' % (filling * 40, nested(30))).items


@pytest.mark.parametrize("extra", [b"", b"\\u0022", b"\\u0022\\u0022", b'\\"', b"\\\\"])
def test_a_field_that_stands_twice_is_refused_whatever_its_text(extra: bytes) -> None:
    with pytest.raises(Invalid, match="twice"):
        decode(Heap, b'{"items":[{"a":"%b","a":"%b"}]}' % (extra, extra))


@pytest.mark.parametrize(
    "data", [b"null", b'{"a": [1, 2.5, "x"]}', b'"\\u00e4"', b"9223372036854775807", b"[" * 32 + b"]" * 32]
)
def test_any_value_is_read(data: bytes) -> None:
    assert read_value(data) == orjson.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"NaN",
        b'{"a": 1, "a": 2}',
        b"[" * 33 + b"]" * 33,
        b"9223372036854775808",
        b'"\\ud800"',
        b'["\\u0000"]',
    ],
)
def test_a_value_with_what_has_no_place_in_a_document_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_value(data)
