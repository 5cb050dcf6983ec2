"""Every parser, given anything: it returns or raises the error it documents, in time; what has a writer reads back."""

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from harpoon.agent.drivers import shimfile
from harpoon.agent.record import Record, check_task_id
from harpoon.agent.stream import encode, event_of
from harpoon.api.revision import parse_revision
from harpoon.client.answer import error_of
from harpoon.kit import codec, strict
from harpoon.kit.address import is_local_name, is_loopback
from harpoon.kit.errors import HarpoonError, Invalid, Unavailable
from harpoon.kit.yaml import load_documents, to_json
from harpoon.model.agent import Agent, Link
from harpoon.model.manifest import Manifest
from harpoon.model.name import check_name, check_port_name, check_variable
from harpoon.model.task import CheckResult, Task, TaskState, parse_task_id, task_id
from harpoon.model.token import Token
from harpoon.model.units import (
    format_cpu,
    format_duration,
    format_size,
    parse_cpu,
    parse_duration,
    parse_size,
)
from harpoon.model.variables import expand
from harpoon.model.wire import Adopt, Changed, Commands, Results, Snapshot
from tests.fuzz.spoilt import spoilt_bytes, spoilt_json, texts

#: A second for what takes a millisecond: a machine that is busy passes, a quadratic parser does not.
SECOND = settings(max_examples=300, deadline=1000)
FEWER = settings(max_examples=100, deadline=1000)

TASK = Task(
    id="default.web.0.1-42",
    agent="a1",
    generation="g",
    state=TaskState.RUNNING,
    since_ms=1767225600000,
    ports={"http": 20000},
    checks=(CheckResult(name="http", is_passing=True),),
)
TOKEN = Token(incarnation=1, revision=42)
MANIFEST = {
    "apiVersion": "harpoon/v1",
    "kind": "Job",
    "metadata": {"name": "web", "namespace": "default", "tags": {"team": "shop"}},
    "spec": {
        "scale": 3,
        "placement": {"require": [{"tag": "zone", "in": ["a", "b"]}]},
        "update": {"surge": 1},
        "task": {
            "command": ["serve", "$PORT_HTTP", "$$", "$MODE"],
            "env": {"MODE": "fast"},
            "ports": {"http": 0},
            "resources": {"cpu": "100m", "memory": "64Mi"},
            "checks": [{"http": {"port": "http", "path": "/"}, "every": "2s"}],
            "restart": {"policy": "on_failure", "attempts": 3, "backoff": {"initial": "1s", "factor": 2.0}},
            "stop": {"drain": "1s", "signal": "TERM", "grace": "10s"},
        },
    },
}
ADOPT = Adopt(token=TOKEN, instance="i", uid="u", cluster="c")
SNAPSHOT = Snapshot(agent="a1", uid="u", seq=7, boot="b", tasks=(TASK,), mark=TOKEN)
CHANGED = Changed(boot="b", seq=8, tasks=(TASK,), gone=("default.web.1.1-2",))
COMMANDS = orjson.loads(codec.dump(ADOPT)) | {
    "commands": [
        {"kind": "start", "task": TASK.id, "generation": "g", "template": MANIFEST["spec"]["task"], "reason": "r"},
        {"kind": "stop", "task": TASK.id, "reason": "r"},
        {"kind": "forget", "task": TASK.id, "reason": "r"},
    ]
}
AGENT = {
    "name": "a1",
    "uid": "u",
    "endpoint": "http://127.0.0.1:4451",
    "capacity": {"cpu": "4", "memory": "4Gi"},
    "ports": {"low": 20000, "high": 20999},
    "tags": {"zone": "a"},
    "facts": {"os": "linux"},
}
RECORD = {"id": TASK.id, "generation": "g", "template": MANIFEST["spec"]["task"], "cluster": "c", "restarted_ms": [1]}
#: Kinds that come from peers or the disk, each with a good one.
NOUNS: dict[Any, Any] = {
    Task: orjson.loads(codec.dump(TASK)),
    Snapshot: orjson.loads(codec.dump(SNAPSHOT)),
    Changed: orjson.loads(codec.dump(CHANGED)),
    Adopt: orjson.loads(codec.dump(ADOPT)),
    Commands: COMMANDS,
    Results: {"results": [{"task": TASK.id, "is_ok": False, "reason": "r"}]},
    Agent: AGENT,
    Record: RECORD,
}


def bytes_of(value: Any) -> bytes:
    return json.dumps(value).encode()


@SECOND
@given(spoilt_bytes(bytes_of(MANIFEST)) | spoilt_json(MANIFEST).map(bytes_of))
def test_a_spoilt_manifest_is_invalid_or_reads_back_as_it_was_read(data: bytes) -> None:
    try:
        manifest = codec.decode(Manifest, data)
    except Invalid as error:
        assert error.problems
        codec.dump([str(error), [problem.pointer + problem.detail for problem in error.problems]])
    else:
        assert codec.decode(Manifest, codec.dump_full(manifest)) == manifest
        assert strict.read(data)[1] == []


@pytest.mark.parametrize("kind", NOUNS, ids=lambda kind: kind.__name__)
def test_what_a_peer_or_the_disk_spoilt_is_invalid_or_can_be_written_again(kind: Any) -> None:
    @FEWER
    @given(spoilt_bytes(bytes_of(NOUNS[kind])) | spoilt_json(NOUNS[kind]).map(bytes_of))
    def check(data: bytes) -> None:
        try:
            noun = codec.load(kind, data)
        except Invalid:
            return
        assert codec.load(kind, codec.dump(noun)) == noun

    codec.load(kind, bytes_of(NOUNS[kind]))
    check()


@pytest.mark.parametrize("number", ["9" * 19, "9" * 20, f"-{2**63 + 1}", "9" * 5000])
def test_a_number_of_a_peer_that_could_not_be_written_again_is_invalid(number: str) -> None:
    with pytest.raises(Invalid, match=r"64 bits|out of range"):
        codec.load(Link, ('{"agent":"a","state":"lost","since_ms":1,"v":' + number + "}").encode())


def test_long_numbers_within_text_and_at_the_limits_are_fine() -> None:
    for number in (2**63 - 1, -(2**63)):
        assert codec.load(Token, b'{"incarnation":1,"revision":%d}' % number).revision == number
    assert codec.load(Task, codec.dump(TASK).replace(b'"g"', b'"' + b"9" * 30 + b'"')).generation == "9" * 30


@SECOND
@given(spoilt_bytes(yaml.safe_dump(MANIFEST).encode(), yaml.safe_dump(MANIFEST, default_flow_style=True).encode()))
def test_a_spoilt_file_is_invalid_or_can_be_sent(data: bytes) -> None:
    try:
        documents = load_documents(data, "job.yaml")
    except Invalid as error:
        assert str(error).startswith("job.yaml:")
    else:
        for document in documents:
            assert orjson.loads(to_json(document)) == document.value


UNITS = texts("250ms", "10s", "3650d", "64Mi", "1048576Ti", "500m", "0.5", "2", "999999m") | st.integers() | st.floats()


@pytest.mark.parametrize(
    ("parse", "form"), [(parse_duration, format_duration), (parse_size, format_size), (parse_cpu, format_cpu)]
)
def test_an_amount_is_read_and_written_or_refused(parse: Callable[[object], Any], form: Callable[[Any], str]) -> None:
    @SECOND
    @given(UNITS)
    def check(text: object) -> None:
        try:
            amount = parse(text)
        except ValueError as error:
            assert str(error).startswith(("write ", "a "))
        else:
            assert parse(form(amount)) == amount

    check()


@SECOND
@given(texts("web", "a-b", "x" * 63, "http_1", "MODE"))
def test_a_name_is_taken_as_it_is_or_refused(text: str) -> None:
    for check in (lambda name: check_name("name", name), check_port_name, check_variable):
        try:
            assert check(text) == text
        except ValueError as error:
            assert str(error).isprintable()
        else:
            assert not set(text) & set("/.\x00\n =$")
            assert text.isascii()


@SECOND
@given(texts("default.web.0.1-42", "default.web.10000.999-999999999999999999", "default.web.agent-1.1-42"))
@example("default.web.0.1-" + "9" * 5000)
@example("default.web.\u00b2.1-1")
def test_a_task_id_is_taken_apart_and_joined_again_or_refused(text: str) -> None:
    try:
        name = parse_task_id(text)
    except ValueError as error:
        assert "a task id is" in str(error)
        return
    if not name.agent:
        assert parse_task_id(task_id(*name[:4])) == name
    try:
        directory = check_task_id(text)
    except ValueError:
        return
    assert len(directory) <= 200
    assert not set(directory) & set("/\x00\n")
    assert directory not in (".", "..")


@SECOND
@given(texts("1.42", "9.999999999999999999"))
def test_a_revision_is_read_and_shown_alike_or_refused(text: str) -> None:
    try:
        revision = parse_revision(text)
    except ValueError:
        return
    assert parse_revision(f"{revision.incarnation}.{revision.number}") == revision
    assert max(revision) < 1 << 63


@SECOND
@given(
    texts("$PORT_HTTP", "a$$b$MODE-$MODE", "${MODE}"),
    st.dictionaries(st.sampled_from(["MODE", "PORT_HTTP"]), st.text()),
)
def test_variables_are_expanded_or_refused(text: str, variables: dict[str, str]) -> None:
    try:
        expanded = expand(text, variables)
    except ValueError:
        assert "$" in text
        return
    if not variables:
        assert expanded == text.replace("$$", "$")
    if "$" not in text:
        assert expanded == text


@SECOND
@given(texts("shim 12\ntask 13\nexit 0\n", "shim 12\nsh: 1: x: not found\nexit 127\n", "exit \u00b2\n"))
@example("exit " + "9" * 5000 + "\n")
def test_a_shim_file_of_anything_tells_an_end_or_none(text: str) -> None:
    said = shimfile.parse(text)
    end = said.exit()
    assert end is None or end.detail
    assert len(said.words) <= 200


@SECOND
@given(spoilt_bytes(encode("snapshot", SNAPSHOT).strip(), encode("changed", CHANGED).strip()) | st.binary())
def test_an_agent_s_event_of_anything_is_read_passed_over_or_unavailable(block: bytes) -> None:
    try:
        event = event_of(block)
    except Unavailable:
        return
    assert event is None or codec.load(type(event), codec.dump(event)) == event


@SECOND
@given(texts("localhost:4450", "127.0.0.1", "[::1]:80", "[", "evil.example", "::ffff:127.0.0.1%lo"))
def test_any_host_is_ours_or_is_not(text: str) -> None:
    assert is_local_name(text) in (True, False)
    assert is_loopback(text) in (True, False)


@SECOND
@given(texts("http://127.0.0.1:4451", "https://a-1.example:65535/x", "http://[::1]:1", "http://a:0", "http://u:p@h"))
def test_an_endpoint_that_is_taken_can_be_dialled(text: str) -> None:
    try:
        agent = codec.load(Agent, bytes_of(AGENT | {"endpoint": text}))
    except Invalid:
        return
    try:
        url = URL(agent.endpoint)
    except ValueError:
        assert "[" in text, "only an address in brackets may still be none"
        return
    assert url.host
    assert url.user is None
    url.host.encode("idna")


@SECOND
@given(
    spoilt_json({"title": "t", "detail": "d", "errors": [{"pointer": "/a", "detail": "b"}], "oldest": "1.1"}),
    st.integers(300, 599),
)
def test_an_error_of_any_server_is_one_of_ours(body: Any, status: int) -> None:
    assert isinstance(error_of(status, bytes_of(body), "http://x"), HarpoonError)
