"""Calls over HTTP as operations declare them."""

import orjson
import pytest

from harpoon.core.graph import compile_graph
from harpoon.kit import codec, yaml
from harpoon.kit.errors import Invalid
from harpoon.model.http import Http, SecretHeader
from harpoon.model.workflow import WorkflowManifest
from tests.documents import FENCED, ROOT


def read(**fields: object) -> Http:
    return codec.decode(Http, orjson.dumps({"url": "https://a.example/", **fields}))


def test_the_least_that_a_call_says() -> None:
    one = read()
    assert one == Http(url="https://a.example/")
    assert (one.method, one.expect, one.follow, one.body) == ("GET", ("2xx",), 5, None)
    assert one.template() == {"url": "https://a.example/"}
    assert one.secrets() == {}


def test_everything_that_a_call_can_say() -> None:
    told = {
        "url": "${inputs.url}",
        "method": "POST",
        "headers": {"X-A": "${run.id}", "Authorization": {"secret": "pay/key", "prefix": "Bearer "}},
        "body": {"a": ["${run.id}", 1]},
        "expect": [200, "4xx"],
        "follow": 0,
    }
    one = read(**told)
    assert orjson.loads(codec.dump(one)) == told
    assert one.secrets() == {"Authorization": SecretHeader(secret="pay/key", prefix="Bearer ")}
    # Secrets are no part of what is evaluated, and so of no log.
    assert one.template() == {"url": told["url"], "headers": {"X-A": "${run.id}"}, "body": told["body"]}


@pytest.mark.parametrize(
    ("expect", "read_as", "written"),
    [
        (200, ("200",), 200),
        ("200", ("200",), 200),
        ("2xx", ("2xx",), "2xx"),
        ([200, 200, "3xx"], ("200", "3xx"), [200, "3xx"]),
    ],
)
def test_what_is_expected_is_a_status_a_class_or_a_list(expect: object, read_as: object, written: object) -> None:
    one = read(expect=expect, follow=1)
    assert one.expect == read_as
    assert orjson.loads(codec.dump_full(one))["expect"] == written


@pytest.mark.parametrize(
    ("status", "is_expected"), [(200, True), (201, False), (404, True), (302, True), (399, True), (500, False)]
)
def test_a_status_is_expected_by_itself_or_by_its_class(status: int, is_expected: bool) -> None:
    assert read(expect=[200, 404, "3xx"]).expects(status) is is_expected


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"url": ""}, "url is 1 to 8192 characters"),
        ({"url": "http://" + "a" * 8192}, "url is 1 to 8192 characters"),
        ({"url": "ftp://a"}, "url starts with http:// or https://; got 'ftp://a'"),
        ({"url": "a.example"}, "url starts with http:// or https://; got 'a.example'"),
        ({"follow": -1}, "follow is 0 to 10"),
        ({"follow": 11}, "follow is 0 to 10"),
        ({"body": 1}, "body has no meaning with GET; leave it out, or say another method"),
        ({"body": 1, "method": "HEAD"}, "body has no meaning with HEAD"),
        ({"method": "get"}, "expected"),
        ({"method": "TRACE"}, "expected"),
        ({"expect": []}, "expect is a status such as 200"),
        ({"expect": [200] * 101}, "expect is a status such as 200"),
        ({"expect": 99}, "a status is 100 to 599, a class is 1xx to 5xx; got '99'"),
        ({"expect": "6xx"}, "a status is 100 to 599"),
        ({"expect": [True]}, "a status is 100 to 599"),
        ({"expect": [[]]}, "a status is 100 to 599"),
        ({"headers": {f"x{n}": "" for n in range(65)}}, "headers holds at most 64"),
        ({"headers": {"a b": ""}}, "a header's name is 1 to 128 letters, digits and '-'; got 'a b'"),
        ({"headers": {"a:": ""}}, "a header's name is"),
        ({"headers": {"": ""}}, "a header's name is"),
        ({"headers": {"Host": "a"}}, "headers: Host is set by the server that calls; leave it out"),
        ({"headers": {"content-LENGTH": "1"}}, "headers: content-LENGTH is set by the server"),
        ({"headers": {"Idempotency-Key": "1"}}, "headers: Idempotency-Key is set by the server"),
        ({"headers": {"X-A": "", "x-a": ""}}, "headers names X-A twice; name it once"),
        ({"headers": {"X": "a\r\nB: c"}}, "header X has no line breaks and no control characters"),
        ({"headers": {"X": "\x7f"}}, "header X has no line breaks"),
        ({"headers": {"X": "a" * 4097}}, "header X has at most 4096 characters"),
        ({"headers": {"X": {"secret": "a"}}}, "secret is <name>/<key>"),
        ({"headers": {"X": {"secret": "a/b", "prefix": "\n"}}}, "prefix has no line breaks"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(fields: dict[str, object], detail: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(**fields)
    assert any(problem.detail.startswith(detail) for problem in caught.value.problems), caught.value.problems


def test_the_example_of_the_documentation_compiles_and_is_the_file() -> None:
    [text] = [body for language, body in FENCED.findall((ROOT / "docs/http.md").read_text()) if language == "yaml"]
    (shown,) = yaml.load_documents(text, "docs/http.md")
    name = "examples/workflows/publish.yaml"
    (kept,) = yaml.load_documents((ROOT / name).read_text(), name)
    assert shown.value == kept.value
    manifest = codec.decode(WorkflowManifest, orjson.dumps(kept.value))
    assert compile_graph(manifest.spec).starts == ("create",)
