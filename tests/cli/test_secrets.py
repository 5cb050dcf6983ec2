"""Secrets at the terminal: set from wherever they are, and never repeated; key files made and kept to oneself."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from harpoon.control.keyring import ids_in
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

DB = "/v1/namespaces/default/secrets/db"
CANARY = "correct-horse-battery-staple"


def a_secret(*used_by: str, version: int = 2) -> dict[str, Any]:
    keys = [{"key": "password", "version": version, "set_ms": 1, "encrypted_with": "k1"}]
    return {
        "namespace": "default",
        "name": "db",
        "version": version,
        "revision": "1.5",
        "created_ms": 1,
        "updated_ms": 1,
        "keys": keys,
        "used_by": list(used_by),
    }


def outcome(word: str, *used_by: str) -> Told:
    return Told(body={"revision": "1.5", "outcome": word, "secret": a_secret(*used_by)})


def sent(server: FakeServer) -> dict[str, Any]:
    [asked] = server.of(f"PUT {DB}")
    body: dict[str, Any] = asked.body
    return body | {"base64": {key: base64.b64decode(value) for key, value in body["base64"].items()}}


@pytest.mark.parametrize(
    ("stdin", "value"), [(b"x\n", b"x"), (b"x", b"x"), (b"x\n\n", b"x\n"), (b"\x00\xff\n", b"\x00\xff"), (b"", b"")]
)
def test_a_value_from_standard_input_loses_one_line_end(
    terminal: Terminal, server: FakeServer, stdin: bytes, value: bytes
) -> None:
    server.tell(f"PUT {DB}", outcome("created"))
    done = terminal.run("secret", "set", "db", "password=-", server=server.url, stdin=stdin)
    assert (done.code, done.out, done.err) == (0, "secret/db created: version 2, keys password\n", "")
    assert sent(server) == {"base64": {"password": value}, "keep_others": True, "remove": []}


def test_a_file_is_sent_as_it_is(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"\x00key\n")
    server.tell(f"PUT {DB}", outcome("changed", "api", "web"))
    done = terminal.run("secret", "set", "db", f"key=@{tmp_path}/key.pem", "--replace", server=server.url)
    assert done.code == 0
    assert done.err == "it is used by api, web: tasks follow, as on_change says\n"
    assert sent(server) == {"base64": {"key": b"\x00key\n"}}


def test_a_value_on_the_command_line_is_taken_with_a_warning_that_does_not_repeat_it(
    terminal: Terminal, server: FakeServer
) -> None:
    server.tell(f"PUT {DB}", outcome("created"))
    done = terminal.run("secret", "set", "db", f"password={CANARY}", "--new", server=server.url)
    assert done.code == 0
    assert done.err.startswith("warning: others on this host can see the value of password on this command line")
    assert CANARY not in done.out + done.err
    assert sent(server)["base64"] == {"password": CANARY.encode()}
    assert server.asked[0].headers["if-none-match"] == "*"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name what to set"),
        ((CANARY,), "write KEY=-, KEY=@FILE or KEY=VALUE"),
        ((f"a b={CANARY}",), "a key is 1 to 128"),
        (("a=x", f"a={CANARY}"), "key a stands twice"),
        (("a=-", "b=-"), "standard input is read once"),
        (("a=@/nothing/here",), "a: /nothing/here: No such file"),
        (("a=x", "--replace", "--remove", "b"), "drop --remove"),
        ((f"a={'x' * 65537}",), "the value of a is longer than 65536 bytes"),
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_is_sent(
    terminal: Terminal, server: FakeServer, arguments: tuple[str, ...], said: str
) -> None:
    done = terminal.run("secret", "set", "db", *arguments, server=server.url)
    assert (done.code, said in done.err, server.asked) == (2, True, [])
    assert CANARY not in done.out + done.err


def test_what_the_server_refuses_is_told(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"PUT {DB}", problem(409, "this server has no keys", code="conflict"))
    done = terminal.run("secret", "set", "db", "--remove", "a", server=server.url)
    assert (done.code, done.err) == (4, "error: this server has no keys\n")


def test_secrets_are_listed_and_shown_without_values(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/namespaces/default/secrets", Told(body={"revision": "1.5", "items": [a_secret("web")]}))
    server.tell("GET /v1/secrets", Told(body={"revision": "1.5", "items": [a_secret()]}), Told(body={"items": []}))
    server.tell(f"GET {DB}", Told(body=a_secret("api", "web")))
    listed = terminal.run("secret", "get", server=server.url).out.splitlines()
    assert listed[0].split() == ["NAME", "KEYS", "VERSION", "CHANGED", "USED", "BY"]
    assert listed[1].startswith("db     password   2 ")
    assert listed[1].endswith("web")
    assert terminal.run("secret", "get", "-A", server=server.url).out.splitlines()[0].startswith("NAMESPACE")
    assert terminal.run("secret", "get", "-A", server=server.url).err == "no secrets\n"
    assert terminal.run("secret", "get", "db", "-o", "name", server=server.url).out == "secret/db\n"
    assert json.loads(terminal.run("secret", "get", "db", "-o", "json", server=server.url).out) == a_secret(
        "api", "web"
    )
    screen = terminal.run("secret", "describe", "db", server=server.url).out
    assert screen.startswith("secret/db   version 2, its values are shown to nobody\n")
    assert "job/api, job/web" in screen
    assert terminal.run("secret", "get", "db", "-A", server=server.url).code == 2
    hint = terminal.run("get", "secrets", server=server.url)
    assert (hint.code, "harpoon secret get" in hint.err) == (2, True)


def test_secrets_are_deleted_and_keys_rotated(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"DELETE {DB}", Told(body={"revision": "1.6"}))
    server.tell("PUT /v1/secrets/encryption", Told(body={"revision": "1.7", "key_id": "k2", "rotated": 3}))
    assert terminal.run("secret", "delete", "db", server=server.url).out == "secret/db deleted\n"
    assert terminal.run("secret", "delete", "db", "--force", server=server.url).code == 0
    assert [one.query for one in server.of(f"DELETE {DB}")] == [{}, {"force": ["true"]}]
    done = terminal.run("secret", "rotate-keys", server=server.url)
    assert done.out.startswith("every secret is encrypted with key k2 (3 were anew)")


def test_a_key_file_is_made_for_its_user_alone_and_grows_at_its_head(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    done = terminal.run("secret", "new-key", str(file), "--id", "one")
    assert (done.code, done.out) == (0, f"key one is the first in {file}, which is new\n")
    assert file.stat().st_mode & 0o777 == 0o600
    again = terminal.run("secret", "new-key", str(file), "--id", "two")
    assert "harpoon secret rotate-keys" in again.err
    assert terminal.run("secret", "new-key", str(file)).code == 0
    assert ids_in(file)[1:] == ("two", "one")
    assert terminal.run("secret", "new-key", str(file), "--id", "one").code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
    for line in file.read_text().split():
        assert len(line) < 20 or line not in done.out + again.out + again.err


def test_what_is_no_key_file_is_left_as_it_is(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("precious\n")
    (tmp_path / "other").chmod(0o600)
    assert terminal.run("secret", "new-key", str(tmp_path / "other")).code == 2
    assert (tmp_path / "other").read_text() == "precious\n"
    assert terminal.run("secret", "new-key", str(tmp_path / "nothing" / "keys")).code == 2
    assert terminal.run("secret", "new-key", str(tmp_path / "keys"), "--id", "a b").code == 2


@pytest.mark.parametrize("verb", [("apply", "-f"), ("schedule",), ("plan",)])
def test_a_manifest_of_a_secret_is_refused_with_the_way_that_there_is(
    terminal: Terminal, server: FakeServer, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: db}}\nstringData: {{password: {CANARY}}}\n")
    done = terminal.run(*verb, str(file), server=server.url)
    assert (done.code, "harpoon secret set db KEY=-" in done.err, server.asked) == (2, True, [])
    assert CANARY not in done.out + done.err
