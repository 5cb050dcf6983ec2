"""What authors of manifests are told."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.kit import codec
from harpoon.kit.complaint import LOOKED_AT_MAX, PROBLEMS_MAX
from harpoon.kit.errors import Invalid
from harpoon.kit.strict import VALUES_MAX, pointer, quote, read
from harpoon.model.manifest import Manifest

MIB = 1 << 20


def a_manifest(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Job",
        "metadata": {"name": "web"},
        "spec": {"task": {"command": ["python3"]}, **spec},
    }


def decode(manifest: object) -> Manifest:
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    return codec.decode(Manifest, data)


def refused(manifest: object) -> Invalid:
    with pytest.raises(Invalid) as caught:
        decode(manifest)
    return caught.value


def problems(manifest: object) -> dict[str, str]:
    return {problem.pointer: problem.detail for problem in refused(manifest).problems}


def test_a_manifest_is_read() -> None:
    assert decode(a_manifest(scale=3)).spec.scale == 3


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "empty; expected a JSON document"),
        (b" \n", "empty; expected a JSON document"),
        (b"{", "line 1, column 2: expected a field's name in double quotes"),
        (b'{\n "a": nul}', "line 2, column 7: expected a value"),
        (b'{"a":1} {', "expected nothing after the end"),
        (b'{"a" 1}', "expected ':'"),
        (b'{"a":1 "b":2}', "expected ','"),
        (b'{"a":"x', "not closed"),
        (b'{"a":"\n"}', "control character"),
        (rb'{"a":"\x41"}', "unknown escape"),
        (rb'{"a":"\u00"}', "four hexadecimal digits"),
        (b'{"apiVersion": "harpoon/v1", "kin', "not closed"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a":"\xff"}', "byte 7 is wrong"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"+AHs-", "expected a value"),
        (b"null", "expected a mapping, got null"),
        (b"3", "expected a mapping, got a whole number"),
        (b"1.5", "expected a mapping, got a number"),
        (b"true", "expected a mapping, got true or false"),
        (b'"x"', "expected a mapping, got text"),
        (b"[]", "expected a mapping, got a list"),
        (b"NaN", "NaN is not a number"),
        (rb'"\ud800"', "half of a surrogate pair"),
        (b"1" * 100_000, "beyond 64 bits"),
        (b"[" * 100_000, "nested deeper than 32"),
        (b'{"a":' * 100_000, "nested deeper than 32"),
        (b"[" + b"0," * VALUES_MAX + b"0]", f"more than {VALUES_MAX} values"),
    ],
)
def test_a_document_that_cannot_be_used_at_all_has_one_fault_at_the_root(data: bytes, detail: str) -> None:
    error = refused(data)
    assert [problem.pointer for problem in error.problems] == [""]
    assert detail in error.problems[0].detail
    assert str(error) == f"the document: {error.problems[0].detail}"


@pytest.mark.parametrize(
    ("spec", "where", "detail"),
    [
        ('"scale":"3"', "/spec/scale", "expected a whole number, got text '3'"),
        ('"scale":3.5', "/spec/scale", "expected a whole number, got the number 3.5"),
        ('"scale":true', "/spec/scale", "expected a whole number, got true"),
        ('"scale":null', "/spec/scale", "expected a whole number, got null"),
        ('"scale":[3]', "/spec/scale", "expected a whole number, got a list"),
        ('"scale":-1', "/spec", "scale is 0 to 10000"),
        ('"scale":1e400', "/spec/scale", "a number beyond 64 bits; write it as text, or smaller"),
        ('"scale":NaN', "/spec/scale", "NaN is not a number that JSON has"),
        ('"scale":-Infinity', "/spec/scale", "-Infinity is not a number that JSON has"),
        ('"scale":9223372036854775808', "/spec/scale", "a number beyond 64 bits; write it as text, or smaller"),
        ('"scale":-9223372036854775809', "/spec/scale", "a number beyond 64 bits; write it as text, or smaller"),
        ('"scale":1,"scale":2', "/spec/scale", "the same field twice; keep one"),
        ('"scael":1', "/spec/scael", "unknown field 'scael'; did you mean 'scale'?"),
        ('"zzz":1', "/spec/zzz", "unknown field 'zzz'; known here: task, type, scale, placement, update, depends_on, on_lost, exclusive, priority, preempt, parameters, arguments, completions, parallel, attempts, on_failure, deadline, keep, cron"),
        ('"__proto__":1', "/spec/__proto__", "unknown field '__proto__'; known here: task, type, scale, placement, update, depends_on, on_lost, exclusive, priority, preempt, parameters, arguments, completions, parallel, attempts, on_failure, deadline, keep, cron"),
        ('"__class__":1', "/spec/__class__", "unknown field '__class__'; known here: task, type, scale, placement, update, depends_on, on_lost, exclusive, priority, preempt, parameters, arguments, completions, parallel, attempts, on_failure, deadline, keep, cron"),
        ('"a/b~c":1', "/spec/a~1b~0c", "unknown field 'a/b~c'; known here: task, type, scale, placement, update, depends_on, on_lost, exclusive, priority, preempt, parameters, arguments, completions, parallel, attempts, on_failure, deadline, keep, cron"),
        ('"\\ud800":1', "/spec/\\ud800", "a field's name holds half of a surrogate pair (\\ud800 to \\udfff); write the whole character"),
        ('"\\u0000":[1]', "/spec/\\x00", "a field's name holds a NUL character; remove it"),
        ('"\\u202e":1', "/spec/\\u202e", "unknown field '\\u202e'; known here: task, type, scale, placement, update, depends_on, on_lost, exclusive, priority, preempt, parameters, arguments, completions, parallel, attempts, on_failure, deadline, keep, cron"),
        ('"type":"servce"', "/spec/type", "expected 'service', 'batch' or 'system', got text 'servce'"),
        ('"type":"systm"', "/spec/type", "expected 'service', 'batch' or 'system', got text 'systm'"),
        ('"type":["batch"]', "/spec/type", "expected 'service', 'batch' or 'system', got a list"),
        ('"cron":{"at":"*/0 * * * *"}', "/spec/cron/at", "its minute is '*/0', which is none: write 0 to 59, several with commas, a range as 1-5, or every so many as */15"),
        ('"cron":{"at":"* * 31 2 *"}', "/spec/cron/at", "'* * 31 2 *' never fires: there is no such day; change its day-of-month or month"),
        ('"cron":{"at":5}', "/spec/cron/at", 'write a cron expression of at most 100 characters: minute hour day-of-month month day-of-week, such as "0 2 * * *"'),
        ('"cron":{"at":"0 2 * * *","timezone":"../UTC"}', "/spec/cron/timezone", "there is no time zone '../UTC': write one such as UTC or Europe/Berlin"),
        ('"cron":{"at":"0 2 * * *","catch_up":"1s"}', "/spec/cron", "catch_up is 10s to 168h: less would be too little for one server to follow another"),
        ('"cron":{"at":"0 2 * * *"}', "/spec", "cron is for type: batch: each of its children runs to completion"),
        ('"arguments":{"day":{}}', "/spec/arguments/day", "expected true or false, or a number, or text, got a mapping"),
        ('"arguments":{"day":[]}', "/spec/arguments/day", "expected true or false, or a number, or text, got a list"),
        ('"exclusive":1', "/spec/exclusive", "expected true or false, got the number 1"),
        ('"exclusive":true,"on_lost":"replace"', "/spec", "on_lost: replace would run a slot twice, and exclusive: true forbids that; leave one out"),
        ('"exclusive":true,"update":{"surge":2}', "/spec", "update.surge has no meaning with exclusive: true, which breaks before it makes; leave it out"),
        ('"placement":[]', "/spec/placement", "expected a mapping, got a list"),
        ('"placement":{"require":{}}', "/spec/placement/require", "expected a list, got a mapping"),
        ('"placement":{"require":[{}]}', "/spec/placement/require/0/tag", "required, but missing"),
        ('"placement":{"require":[{"tag":"x","exists":"yes"}]}', "/spec/placement/require/0/exists", "expected true or false, got text 'yes'"),
        ('"placement":{"require":[{"tag":1,"exists":true}]}', "/spec/placement/require/0/tag", "expected text, got a whole number; put it in quotes"),
        ('"placement":{"require":[{"tag":"x"}]}', "/spec/placement/require/0", "exactly one of equals, in, not_in, exists is set"),
        ('"update":{"surge":0}', "/spec/update", "surge and unavailable are not both 0, or nothing could ever be replaced"),
    ],
)  # fmt: skip
def test_a_fault_is_told_where_it_stands_and_with_what_would_be_right(spec: str, where: str, detail: str) -> None:
    text = json.dumps(a_manifest(marker=1)).replace('"marker": 1', spec)
    assert problems(text.encode()) == {where: detail}


@pytest.mark.parametrize(
    ("task", "where", "detail"),
    [
        ({"resources": {"cpu": "fast"}}, "/resources/cpu", "write cpu as"),
        ({"resources": {"cpu": True}}, "/resources/cpu", "write cpu as"),
        ({"resources": {"memory": "64MB"}}, "/resources/memory", "write a size as"),
        ({"stop": {"grace": 10}}, "/stop/grace", "write a duration as"),
        ({"restart": {"backoff": {"factor": "2"}}}, "/restart/backoff/factor", "expected a number, got text '2'"),
        (
            {"restart": {"policy": "sometimes"}},
            "/restart/policy",
            "expected 'always', 'on_failure' or 'never', got text",
        ),
        ({"image": "nginx"}, "", "image is for driver docker"),
        ({"ports": {"http": "80"}}, "/ports/http", "expected a whole number, got text '80'"),
        ({"ports": {"HTTP": 80}}, "", "a port's name is"),
        ({"command": "python3"}, "/command", "expected a list, got text"),
        ({"command": ["a", 1]}, "/command/1", "expected text, got a whole number; put it in quotes"),
        ({"command": ["a\x00"]}, "/command/0", "holds a NUL character"),
        ({"command": ["$HOSTNAM"]}, "", "$HOSTNAM is not in the task's environment"),
        ({"comand": ["a"]}, "/comand", "unknown field 'comand'; did you mean 'command'?"),
    ],
)
def test_a_fault_of_a_task_is_told_where_it_stands(task: dict[str, Any], where: str, detail: str) -> None:
    found = problems(a_manifest(task={"command": ["python3"], **task}))
    assert list(found) == [f"/spec/task{where}"]
    assert detail in found[f"/spec/task{where}"]


def test_a_check_sets_one_kind_of_probe() -> None:
    both = {"tcp": {"port": "http"}, "exec": {"command": ["true"]}}
    found = problems(a_manifest(task={"command": ["a"], "ports": {"http": 0}, "checks": [both, {}]}))
    assert found == dict.fromkeys(
        ("/spec/task/checks/0", "/spec/task/checks/1"), "a check sets exactly one of http, tcp, exec"
    )


@pytest.mark.parametrize(
    ("value", "where", "detail"),
    [
        (7, "", "expected text, got a whole number; put it in quotes"),
        ([], "", "expected text, got a list"),
        ({"secret": "password"}, "", "secret is <name>/<key>, such as db/password"),
        ({"secret": "db/password", "at": "x"}, "/at", "unknown field 'at'; known here: secret, on_change"),
        ({"secrets": "db/password"}, "/secrets", "unknown field 'secrets'; did you mean 'secret'?"),
        ({"endpoint": "api/http"}, "/endpoint", "unknown field 'endpoint'; did you mean 'endpoints'?"),
        ({"endpoints": 7}, "/endpoints", "expected text, got a whole number; put it in quotes"),
        ({"endpoints": "api"}, "", "endpoints is <job>/<port name>, such as api/http"),
        ({"endpoints": "api/http", "on_change": "x"}, "/on_change", "expected 'restart' or 'keep', got text 'x'"),
    ],
)
def test_a_variable_is_text_or_the_endpoints_of_a_job(value: object, where: str, detail: str) -> None:
    found = problems(a_manifest(task={"command": ["a"], "env": {"API": value}}))
    assert found[f"/spec/task/env/API{where}"] == detail
    assert all(pointer.startswith(f"/spec/task/env/API{where[:1]}") for pointer in found)


def test_everything_wrong_is_told_at_once_and_in_order() -> None:
    error = refused(
        b'{"kind":"Workflow","metadata":{"name":"web","name":"api"},"spec":{"scale":NaN,"task":'
        b'{"command":["a",1,2,3,4,5,6,7,8,9,10],"ports":{"a":"1"}},"update":{"surge":"\\ud800"}}}'
    )
    assert [problem.pointer for problem in error.problems] == [
        "/apiVersion",
        "/kind",
        "/metadata/name",
        "/spec/scale",
        *(f"/spec/task/command/{index}" for index in range(1, 11)),
        "/spec/task/ports/a",
        "/spec/update/surge",
    ]
    assert str(error) == "/apiVersion: required, but missing (and 15 more)"


def test_only_so_many_problems_are_listed_but_all_are_counted() -> None:
    error = refused(a_manifest(task={"command": [1] * 1000}))
    assert len(error.problems) == PROBLEMS_MAX
    assert str(error).endswith("(and 999 more)")
    assert error.problems[-1].pointer == f"/spec/task/command/{PROBLEMS_MAX - 1}"


def test_of_very_many_problems_only_the_number_is_told() -> None:
    count = LOOKED_AT_MAX + 5
    error = refused(a_manifest(task={"command": [1] * count}))
    assert len(error.problems) == PROBLEMS_MAX
    assert str(error).endswith(f"(and {count - 1} more)")


def test_depth_is_limited_where_it_is_reached() -> None:
    deep: Any = 1
    for _ in range(32):
        deep = [deep]
    found = problems({"a": deep})
    assert found["/a" + "/0" * 31] == "nested deeper than 32 lists and mappings; make it flatter"


@pytest.mark.parametrize(
    "task",
    [
        {"env": {"PASSWORD": 5512345}},
        {"env": {"PASSWORD": ["s5512345"]}},
        {"env": "PASSWORD=s5512345"},
        {"env": ["PASSWORD=s5512345"]},
        {"env": {"PASSWORD": {"PASSWORD": "s5512345"}}},
        {"env": {"PASSWORD": "s5512345\x00"}},
        {"env": {"PASSWORD": True, "5512345": "s5512345"}},
        {"env": {"5 A": "s5512345"}},
        {"command": "s5512345"},
        {"command": ["a", 5512345]},
        {"secret": "s5512345"},
    ],
)
def test_values_that_may_be_secret_are_not_repeated(task: dict[str, Any]) -> None:
    error = refused(a_manifest(task={"command": ["a"], **task}))
    told = " ".join([str(error), *(problem.detail for problem in error.problems)])
    assert "5512345" not in told


def test_long_values_and_names_are_cut() -> None:
    error = refused(a_manifest(type="x" * MIB, **{"y" * MIB: 1}))
    assert len(str(error)) < 300
    assert all(len(problem.pointer) < 200 and len(problem.detail) < 300 for problem in error.problems)
    assert quote("z" * 100) == f"'{'z' * 80}…'"
    assert pointer(("a\nb", 3, "x" * 81)) == "/a\\nb/3/" + "x" * 80 + "…"


HOSTILE = {
    "brackets": b"[" * MIB,
    "pairs": b"[" + b"[]," * (MIB // 3 - 1) + b"[]]",
    "digits": b'{"a":' + b"1" * MIB + b"}",
    "decimals": b'{"a":' + b"1" * MIB + b".5}",
    "text": b'{"kind":"' + b"x" * MIB + b'"}',
    "fields": b"{" + b",".join(b'"%05d":1' % index for index in range(MIB // 10)) + b"}",
    "unknown fields": b"{" + b",".join(b'"%05d":1' % index for index in range(VALUES_MAX)) + b"}",
    "same field": b"{" + b",".join([b'"k":1'] * (MIB // 6)) + b"}",
    "twice": b'{"a":[' + b",".join([b'{"a":1,"a":2}'] * 16_000) + b"]}",
    "wrong": json.dumps(a_manifest(task={"command": [1] * (VALUES_MAX - 20)})).encode(),
    "missing": json.dumps(a_manifest(task={"command": ["a"], "checks": [{}] * (VALUES_MAX - 20)})).encode(),
    "dollars": json.dumps(a_manifest(task={"command": ["$" * 100_000, "$a"]})).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_refused_in_time(name: str) -> None:
    before = time.process_time()
    refused(HOSTILE[name])
    # A second or two, and several times that while it is measured which branches are taken.
    assert time.process_time() - before < 12


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.data(), ANYTHING)
def test_a_manifest_with_anything_anywhere_is_read_or_invalid(data: st.DataObject, anything: object) -> None:
    root = {"": a_manifest(placement={"require": [{"tag": "a", "in": ["b"]}]}, update={"surge": 1})}
    container: Any = root
    key: Any = ""
    for _ in range(data.draw(st.integers(0, 5))):
        if not isinstance(container[key], dict | list) or not container[key]:
            break
        container = container[key]
        key = data.draw(st.sampled_from(list(container) if isinstance(container, dict) else range(len(container))))
    container[key] = anything
    try:
        decode(root[""])
    except Invalid as error:
        assert error.problems
        codec.dump([str(error), [problem.pointer + problem.detail for problem in error.problems]])


@settings(max_examples=100, deadline=None)
@given(ANYTHING)
def test_what_other_readers_take_is_read_alike_or_has_a_fault(anything: object) -> None:
    document, faults = read(json.dumps(anything).encode())
    assert faults or document == anything
