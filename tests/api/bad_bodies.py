"""Bad inputs as bodies: JSON, what JSON may hold, and manifests that mean harm: name → (bytes, statuses)."""

import json
from typing import Any

from tests.api.bad_http import REFUSED, WEB, Row
from tests.fuzz.target import CANARY, http_bytes

MIB = 1 << 20
TAKEN = frozenset({200, 202})


def manifest(name: str = "bad", metadata: dict[str, Any] | None = None, **task: Any) -> dict[str, Any]:
    template = {"command": ["/bin/true"], "restart": {"policy": "never"}, **task}
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Job",
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"scale": 0, "task": template},
    }


def put(body: bytes | dict[str, Any], name: str = "bad") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http_bytes("PUT", f"/v1/namespaces/default/jobs/{name}", data)


def with_spec(**fields: Any) -> bytes:
    whole = manifest()
    whole["spec"] |= fields
    return put(whole)


def with_task(**fields: Any) -> bytes:
    return put(manifest(**fields))


def swapped(old: str, new: str) -> bytes:
    """A good manifest with a part of its text replaced."""
    text = json.dumps(manifest())
    assert old in text
    return put(text.replace(old, new).encode())


def filled(items: str, count: int) -> bytes:
    return put(json.dumps(manifest()).replace('["/bin/true"]', f"[{','.join([items] * count)}]").encode())


JSON: dict[str, Row] = {
    "nothing": (put(b""), REFUSED),
    "blanks": (put(b" " * 1000), REFUSED),
    "null": (put(b"null"), REFUSED),
    "a list": (put(b"[]"), REFUSED),
    "a number": (put(b"1"), REFUSED),
    "cut short": (put(b'{"apiVersion": "harpoon/v1", "kind'), REFUSED),
    "two documents": (put(b"{}{}"), REFUSED),
    "a comment": (put(b'{"kind": "Job" /* a */}'), REFUSED),
    "a comma too many": (put(b'{"kind": "Job",}'), REFUSED),
    "single quotes": (put(b"{'kind': 'Job'}"), REFUSED),
    "depth of 100,000 lists": (put(b"[" * 100_000), REFUSED),
    "depth of 100,000 mappings": (put(b'{"a":' * 100_000), REFUSED),
    "depth of 100,000, closed": (put(b"[" * 100_000 + b"]" * 100_000), REFUSED),
    "depth of 33": (swapped('["/bin/true"]', "[" * 33 + "]" * 33), REFUSED),
    "a field twice": (put(b'{"a":1,"a":2}'), REFUSED),
    "kind twice": (swapped('"kind": "Job"', '"kind": "Job", "kind": "Job"'), REFUSED),
    "NaN": (swapped('"scale": 0', '"scale": NaN'), REFUSED),
    "Infinity": (swapped('"scale": 0', '"scale": Infinity'), REFUSED),
    "minus Infinity": (swapped('"scale": 0', '"scale": -Infinity'), REFUSED),
    "1e400": (swapped('"scale": 0', '"scale": 1e400'), REFUSED),
    "1e2": (swapped('"scale": 0', '"scale": 1e2'), REFUSED),
    "minus zero": (swapped('"scale": 0', '"scale": -0'), frozenset({200, 202, 400})),
    "minus zero point zero": (swapped('"scale": 0', '"scale": -0.0'), frozenset({200, 202, 400})),
    "an int of 100,000 digits": (swapped('"scale": 0', '"scale": ' + "9" * 100_000), REFUSED),
    "a fraction of 100,000 digits": (swapped('"scale": 0', '"scale": 0.' + "9" * 100_000), REFUSED),
    "2**63": (swapped('"scale": 0', f'"scale": {2**63}'), REFUSED),
    "-(2**63)": (swapped('"scale": 0', f'"scale": {-(2**63)}'), REFUSED),
    "hex": (swapped('"scale": 0', '"scale": 0x10'), REFUSED),
    "an int as text": (swapped('"scale": 0', '"scale": "1"'), REFUSED),
    "true as an int": (swapped('"scale": 0', '"scale": true'), REFUSED),
    "a lone surrogate": (swapped("/bin/true", "\\ud800"), REFUSED),
    "a lone surrogate in a name": (swapped('"restart"', '"\\udfff"'), REFUSED),
    "NUL in a command": (swapped("/bin/true", "/bin/true\\u0000"), REFUSED),
    "NUL in a field's name": (swapped('"restart"', '"re\\u0000start"'), REFUSED),
    "a raw control character": (swapped("/bin/true", "/bin/\x01true"), REFUSED),
    "RTL override in a tag": (put(manifest(metadata={"tags": {"a": "\u202eeurt"}})), TAKEN),
    "other digits as a name": (put(manifest(name="\u0663")), REFUSED),
    "UTF-16": (put(json.dumps(manifest()).encode("utf-16")), REFUSED),
    "a byte order mark": (put(b"\xef\xbb\xbf" + json.dumps(manifest()).encode()), REFUSED),
    "overlong UTF-8": (swapped("/bin/true", "ZZ").replace(b'"ZZ"', b'"\xc0\xaf"'), REFUSED),
    "UTF-8 surrogates": (swapped("/bin/true", "ZZZ").replace(b'"ZZZ"', b'"\xed\xa0\x80"'), REFUSED),
    "text of 1 MiB": (swapped("/bin/true", "x" * (MIB - 400)), frozenset({202, 400})),
    "text of 1 MiB as a kind": (swapped('"Job"', '"' + "x" * (MIB - 400) + '"'), REFUSED),
    "name of 1 MiB": (put(b'{"' + b"x" * (MIB - 10) + b'":1}'), REFUSED),
    "1 MiB and a byte": (put(b" " * (MIB + 1)), frozenset({413})),
    "escapes of 1 MiB": (put(b'{"kind":"' + b"\\u0041" * 170_000 + b'"}'), REFUSED),
    "fields, 100,000": (put(b"{" + b",".join(b'"%05d":1' % n for n in range(100_000)) + b"}"), REFUSED),
    "fields, 40,000": (put(b"{" + b",".join(b'"%05d":1' % n for n in range(40_000)) + b"}"), REFUSED),
    "the same field 170,000 times": (put(b"{" + b",".join([b'"k":1'] * 170_000) + b"}"), REFUSED),
    "pairs, 16,000, each twice": (put(b'{"a":[' + b",".join([b'{"a":1,"a":2}'] * 16_000) + b"]}"), REFUSED),
    "empty lists, 340,000": (put(b"[" + b",".join([b"[]"] * 340_000) + b"]"), REFUSED),
    "wrong items, 45,000": (filled("1", 45_000), REFUSED),
    "empty checks, 45,000": (
        put(
            json.dumps(manifest(checks=[])).replace('"checks": []', f'"checks": [{",".join(["{}"] * 45_000)}]').encode()
        ),
        REFUSED,
    ),
    "a command of 45,000 words": (filled('"a"', 45_000), frozenset({202, 400})),
    "__proto__": (swapped('"restart"', '"__proto__"'), REFUSED),
    "__class__": (swapped('"restart"', '"__class__"'), REFUSED),
    "YAML": (put(b"a: &a [x, x]\nb: *a\n"), REFUSED),
    "YAML that runs": (put(b'!!python/object/apply:os.system ["id"]'), REFUSED),
    "XML with an entity": (put(b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'), REFUSED),
    "a pickle": (put(b"\x80\x04\x95cos\nsystem\n(S'id'\ntR."), REFUSED),
}

#: Fields that the system sets, sent by a user; and numbers and words out of their bounds.
MANIFESTS: dict[str, Row] = {
    "status given": (put({**manifest(), "status": {"state": "ready"}}), REFUSED),
    "generation given": (put(manifest(metadata={"generation": "0"})), REFUSED),
    "another namespace than the path's": (put(manifest(metadata={"namespace": "kube-system"})), REFUSED),
    "another name than the path's": (put(manifest(name="other")), REFUSED),
    "owner and token given": (put({**manifest(), "owner": "me", "token": {"incarnation": 9, "revision": 9}}), REFUSED),
    "scale of a million": (with_spec(scale=10**6), REFUSED),
    "scale below zero": (with_spec(scale=-1), REFUSED),
    "scale of a fraction": (with_spec(scale=0.5), REFUSED),
    "tags, 10,000": (put(manifest(metadata={"tags": {str(n): "" for n in range(10_000)}})), REFUSED),
    "a tag of 100,000 characters": (put(manifest(metadata={"tags": {"a": "x" * 100_000}})), REFUSED),
    "docker privileged": (with_task(driver="docker", privileged=True), REFUSED),
    "docker's socket": (with_task(mounts=["/var/run/docker.sock:/var/run/docker.sock"]), REFUSED),
    "cpu of nonsense": (with_task(resources={"cpu": "1e3"}), REFUSED),
    "cpu below zero": (with_task(resources={"cpu": "-1"}), REFUSED),
    "cpu of NaN as text": (with_task(resources={"cpu": "NaN"}), REFUSED),
    "memory of 10**30": (with_task(resources={"memory": "1" + "0" * 30}), REFUSED),
    "memory in other digits": (with_task(resources={"memory": "\u0661Gi"}), REFUSED),
    "a duration of 100 years": (with_task(stop={"grace": "36500d"}), REFUSED),
    "a duration in months": (with_task(stop={"grace": "1mo"}), REFUSED),
    "a duration below zero": (with_task(stop={"grace": "-1s"}), REFUSED),
    "a signal that is none": (with_task(stop={"signal": "KILLALL"}), REFUSED),
    "a port of 70,000": (with_task(ports={"http": 70_000}), REFUSED),
    "a port below zero": (with_task(ports={"http": -1}), REFUSED),
    "a port's name of harm": (with_task(ports={"a b;id": 0}), REFUSED),
    "ports, 10,000": (with_task(ports={f"p{n}": 0 for n in range(10_000)}), frozenset({202, 400})),
    "a check of a URL": (with_task(checks=[{"http": {"port": "http", "path": "http://169.254.169.254/"}}]), REFUSED),
    "a check that breaks lines": (
        with_task(ports={"http": 0}, checks=[{"http": {"port": "http", "path": "/\r\nHost: evil\r\n"}}]),
        REFUSED,
    ),
    "a check every 0 s": (
        with_task(ports={"http": 0}, checks=[{"http": {"port": "http", "path": "/"}, "every": "0s"}]),
        REFUSED,
    ),
    "attempts of 10**9": (with_task(restart={"attempts": 10**9}), REFUSED),
    "a backoff factor of 1e308": (with_task(restart={"backoff": {"factor": 1e308}}), REFUSED),
    "cron of the 31st of February": (with_spec(type="batch", cron={"at": "* * 31 2 *"}), REFUSED),
    "cron of every zeroth minute": (with_spec(type="batch", cron={"at": "*/0 * * * *"}), REFUSED),
    "cron in a zone above the others": (
        with_spec(type="batch", cron={"at": "0 2 * * *", "timezone": "../../../etc/passwd"}),
        REFUSED,
    ),
    "cron of a thousand fields": (with_spec(type="batch", cron={"at": "* " * 1000}), REFUSED),
    "cron with digits of another script": (with_spec(type="batch", cron={"at": "٣ 2 * * *"}), REFUSED),
    "a regex that backtracks": (with_spec(placement={"require": [{"tag": "a", "matches": "(a+)+$"}]}), REFUSED),
    "a requirement of two tests": (
        with_spec(placement={"require": [{"tag": "a", "equals": "b", "exists": True}]}),
        REFUSED,
    ),
    "an unknown kind": (swapped('"Job"', '"Pod"'), REFUSED),
    "another version of the language": (swapped("harpoon/v1", "harpoon/v0"), REFUSED),
    "an expression": (with_task(command=["/bin/echo", "${inputs.a}"]), REFUSED),
    "a template of another language": (with_task(command=["/bin/echo", "{{config}}"]), TAKEN),
    "a lone dollar": (with_task(command=["/bin/echo", "$"]), REFUSED),
    "a variable that is not there": (with_task(command=["/bin/echo", "$AWS_SECRET_ACCESS_KEY"]), REFUSED),
    "an empty command": (with_task(command=[]), REFUSED),
    "a command of nothing": (with_task(command=[""]), REFUSED),
    "a command as text": (with_task(command="/bin/sh -c id"), REFUSED),
    "NUL in env": (with_task(env={"A": f"{CANARY}\x00"}), REFUSED),
    "an env name with =": (with_task(env={"A=B": CANARY}), REFUSED),
    "an env name that breaks lines": (with_task(env={"A\nB": CANARY}), REFUSED),
    "an env name of nothing": (with_task(env={"": CANARY}), REFUSED),
    "an env value that is a number": (with_task(env={"A": 1}), REFUSED),
    "a working directory above": (with_task(working_directory="../../etc"), REFUSED),
    "NUL in the working directory": (with_task(working_directory="/tmp\x00/x"), REFUSED),
}


def post(path: str, body: Any) -> bytes:
    return http_bytes("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())


def agent(name: str = "bad", **changes: Any) -> bytes:
    whole = {
        "name": name,
        "uid": "u",
        "endpoint": "http://127.0.0.1:1",
        "capacity": {"cpu": "1", "memory": "1Mi"},
        "ports": {"low": 1, "high": 2},
    }
    return http_bytes("PUT", f"/v1/agents/{name}", json.dumps({**whole, **changes}).encode())


#: Agents are dialled at once, so each endpoint is one that the server then has to live with.
OTHERS: dict[str, Row] = {
    "apply of nothing": (post("/v1/apply", {"documents": []}), frozenset({200, 202, 400})),
    "apply of null": (post("/v1/apply", {"documents": None}), REFUSED),
    "apply of 41": (post("/v1/apply", {"documents": [manifest(f"b{n}") for n in range(41)]}), REFUSED),
    "apply of 10,000": (post("/v1/apply", {"documents": [{}] * 10_000}), REFUSED),
    "apply of one twice": (post("/v1/apply", {"documents": [manifest(), manifest()]}), REFUSED),
    "apply of a bad one among good": (post("/v1/apply", {"documents": [manifest("ok"), {}]}), REFUSED),
    "scale of text": (post(f"{WEB}/scale", {"scale": "all"}), REFUSED),
    "scale of nothing": (post(f"{WEB}/scale", {}), REFUSED),
    "scale of what is not there": (post(f"{WEB}-not-there/scale", {"scale": 1}), frozenset({404})),
    "scale of 2**64": (post(f"{WEB}/scale", {"scale": 2**64}), REFUSED),
    "agent with the schema of 10**30": (agent(v=10**30), REFUSED),
    "agent with capacity of 10**30": (agent(capacity={"cpu": "1", "memory": 10**30}), REFUSED),
    "agent with ports backwards": (agent(ports={"low": 2, "high": 1}), REFUSED),
    "agent of another name": (http_bytes("PUT", "/v1/agents/other", agent().partition(b"\r\n\r\n")[2]), REFUSED),
    "agent with a lone surrogate": (
        http_bytes("PUT", "/v1/agents/bad", agent(facts={"a": "\ud800"}).partition(b"\r\n\r\n")[2]),
        REFUSED,
    ),
    "agent with 10,000 facts": (agent("facts", facts={str(n): "x" for n in range(10_000)}), frozenset({200, 400})),
    **{
        f"agent at {endpoint[:50]!r}": (agent(name, endpoint=endpoint), statuses)
        for name, endpoint, statuses in (
            ("u1", "gopher://127.0.0.1:6379/", REFUSED),
            ("u2", "file:///etc/passwd", REFUSED),
            ("u3", "unix:///var/run/docker.sock", REFUSED),
            ("u4", "http://", frozenset({200, 400})),
            ("u5", "http://[", frozenset({200, 400})),
            ("u6", "http://127.0.0.1:99999", frozenset({200, 400})),
            ("u7", "http://127.0.0.1:port", frozenset({200, 400})),
            ("u8", "http://" + "a" * 70 + ".example", frozenset({200, 400})),
            ("u9", "http://..", frozenset({200, 400})),
            ("v1", "http://\u0000", frozenset({200, 400})),
            ("v2", "http://a b/\r\nX: 1", frozenset({200, 400})),
            ("v3", "http://user:password@127.0.0.1:1/", frozenset({200, 400})),
            ("v4", "http://\ud83d\ude00.example", frozenset({200, 400})),
            ("v5", "http://xn--.example", frozenset({200, 400})),
            ("v6", "http://[::ffff:127.0.0.1]:1", frozenset({200, 400})),
            ("v7", "http://2130706433:1", frozenset({200, 400})),
            ("v8", "http://127.0.0.1:1/" + "x" * 100_000, frozenset({200, 400})),
            ("v9", "https://127.0.0.1:1", frozenset({200, 400})),
            ("w1", "http://%zz:1", frozenset({200, 400})),
            ("w2", "http://0:0", frozenset({200, 400})),
        )
    },
}
