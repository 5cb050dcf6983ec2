"""Secrets as nouns: what they may be called, how many there may be, and that their values do not show themselves."""

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.kit.logs import _dumps
from harpoon.model.check import Check, ExecProbe
from harpoon.model.command import StartTask
from harpoon.model.given import Endpoints, OnChange, SecretFile, SecretVariable
from harpoon.model.name import TaskId
from harpoon.model.secret import KEYS_MAX, SECRET_MAX, VALUE_MAX, Sealed, SecretChange, bound_to, check_key
from harpoon.model.sensitive import Sensitive, format_base64, parse_base64, parse_text
from harpoon.model.template import TaskTemplate
from harpoon.model.units import format_mode, parse_mode

CANARY = "correct-horse-battery-staple"


@dataclass
class Holder:
    value: Sensitive


def change(**fields: Any) -> SecretChange:
    return codec.decode(SecretChange, orjson.dumps(fields))


def test_what_is_sensitive_is_shown_by_nothing_but_asking_for_it() -> None:
    value = Sensitive(CANARY.encode())
    shown = [repr(value), str(value), f"{value}", f"{value!r:>80}", f"{value:>5}", repr(Holder(value)), f"{[value]}"]
    assert not [one for one in shown if CANARY in one]
    assert _dumps({"event": "set", "value": value}) == b'{"event":"set","value":"***"}'
    assert value.reveal() == CANARY.encode()


def test_what_is_sensitive_is_compared_but_neither_copied_nor_hashed() -> None:
    assert Sensitive(b"a") == Sensitive(b"a") != Sensitive(b"b")
    assert Sensitive(b"a") != b"a"
    for copied in (pickle.dumps, copy.copy, hash):
        with pytest.raises(TypeError):
            copied(Sensitive(b"a"))


def test_values_are_read_as_text_and_as_base64_and_are_never_quoted() -> None:
    read = change(data={"a": "ü"}, base64={"b": "AP8="})
    assert {key: value.reveal() for key, value in read.values().items()} == {"a": b"\xc3\xbc", "b": b"\x00\xff"}
    for wrong in ({"data": {"a": 5}}, {"base64": {"a": CANARY}}, {"base64": {"a": [CANARY]}}, {"data": {CANARY: None}}):
        with pytest.raises(Invalid) as refused:
            change(**wrong)
        if "data" not in wrong:
            assert CANARY not in repr(refused.value) + str(refused.value.__cause__)
    for parse in (parse_text, parse_base64):
        with pytest.raises(ValueError, match="expected text"):
            parse(None)


def test_what_was_sent_is_never_written_but_to_an_agent() -> None:
    assert CANARY.encode() not in codec.dump(change(data={"a": CANARY}))
    start = StartTask(
        task=TaskId("default.web.0.1-1"),
        generation="g1",
        template=TaskTemplate(command=("serve",)),
        reason="",
        secrets={"db/password": Sensitive(CANARY.encode())},
    )
    assert CANARY not in repr(start)
    assert codec.load(StartTask, codec.dump(start)) == start
    assert parse_base64(format_base64(Sensitive(b"\xff"))) == Sensitive(b"\xff")


@pytest.mark.parametrize("key", ["password", "a.b", "-", "..a", "A_9", "x" * 128])
def test_keys_may_name_files(key: str) -> None:
    assert check_key("a key", key) == key


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "a b", "ä", "x" * 129, "a\n"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="a key is 1 to 128"):
        check_key("a key", key)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"data": {"a/b": "x"}}, "a key is 1 to 128"),
        ({"data": {"a": "x"}, "base64": {"a": "eA=="}}, "key a stands twice"),
        ({"data": {"a": "x"}, "remove": ["a"], "keep_others": True}, "key a stands twice"),
        ({"data": {"a": "x"}, "remove": ["b"]}, "remove goes with keep_others"),
        ({"data": {f"k{n}": "" for n in range(KEYS_MAX + 1)}}, f"at most {KEYS_MAX} keys"),
        ({"data": {"a": "x" * (VALUE_MAX + 1)}}, f"longer than {VALUE_MAX} bytes"),
        ({"data": {f"k{n}": "x" * VALUE_MAX for n in range(SECRET_MAX // VALUE_MAX + 1)}}, f"at most {SECRET_MAX}"),
        ({"dta": {"a": "x"}}, "unknown field 'dta'; did you mean 'data'"),
    ],
)
def test_changes_that_cannot_be_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        change(**fields)


def test_no_two_values_are_bound_alike_or_told_apart_by_their_version_alone() -> None:
    one = Sealed(version=1, stamp="aa", key_id="k", nonce="", data="", set_ms=5)
    other = Sealed(version=1, stamp="ab", key_id="k", nonce="", data="", set_ms=5)
    places = [bound_to(*where, sealed) for where in (("a", "b", "c"), ("a", "c", "b")) for sealed in (one, other)]
    assert len(set(places)) == 4
    assert (one.binding, other.binding) == ("1-aa", "1-ab")


def template(**fields: Any) -> TaskTemplate:
    return TaskTemplate(command=fields.pop("command", ("serve",)), **fields)


def test_a_template_tells_which_secrets_it_refers_to_and_what_follows_from_a_change() -> None:
    one = template(
        env={"A": SecretVariable(secret="db/a", on_change=OnChange.KEEP), "B": "b", "E": Endpoints(endpoints="x/y")},
        secrets=(
            SecretFile(secret="db/a", at="one"),
            SecretFile(secret="db/c", at="two", on_change=OnChange.KEEP),
            SecretFile(secret="db/c", at="three", on_change=OnChange.KEEP),
            SecretFile(secret="db/a", at="four", on_change=OnChange.KEEP),
        ),
    )
    assert one.secret_values() == {"db/a": OnChange.RESTART, "db/c": OnChange.KEEP}
    assert list(one.secret_variables()) == ["A"]
    assert template().secret_values() == {}
    assert one.bound({"E": "h:1"}).env == {"A": one.env["A"], "B": "b", "E": "h:1"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"command": ("serve", "--pw=$PW")}, r"command\[1\]: \$PW is a secret"),
        ({"checks": (Check(exec_=ExecProbe(command=("probe", "$PW"))),)}, r"exec.command\[1\]: \$PW is a secret"),
        ({"env": {"LD_PRELOAD": SecretVariable(secret="db/a")}}, "LD_PRELOAD means something to shells"),
        ({"env": {"IFS": SecretVariable(secret="db/a")}}, "IFS means something to shells"),
        ({"secrets": tuple(SecretFile(secret="db/a", at=f"f{n}") for n in range(65))}, "secrets holds at most 64"),
        ({"secrets": (SecretFile(secret="db/a", at="f"),) * 2}, "two secrets are at f"),
        ({"secrets": (SecretFile(secret="db/a", at="f"),), "env": {"SECRETS_DIR": "x"}}, "env names SECRETS_DIR"),
        ({"command": ("serve", "$SECRETS_DIR/x")}, r"\$SECRETS_DIR is not in the task's environment"),
    ],
)
def test_templates_that_would_show_a_secret_or_lose_one_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        template(**{"env": {"PW": SecretVariable(secret="db/a")}, **fields})


def test_a_command_may_name_where_the_files_are_and_a_dollar_is_no_reference() -> None:
    files = (SecretFile(secret="db/a", at="f"),)
    assert template(
        command=("serve", "$SECRETS_DIR/f", "$$PW"), secrets=files, env={"PW": SecretVariable(secret="a/b")}
    )


@pytest.mark.parametrize("text", ["db", "db/", "/a", "Db/a", "db/a/b", "db/a b"])
def test_a_reference_is_a_name_and_a_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"secret is <name>/<key>|in secret is"):
        SecretVariable(secret=text)


def test_modes_are_octal_however_they_are_written_and_none_lets_others_write() -> None:
    assert [parse_mode(text) for text in ("0400", "400", 400, "0644", 644)] == [0o400, 0o400, 0o400, 0o644, 0o644]
    assert format_mode(0o440) == "0440"
    # What an octal literal of YAML comes to as a number is none of them.
    for wrong in (0o400, 0o440, 0o444, 0o600, 0o640, 0o644, "0666", "4000", "", None, True, 4.0):
        with pytest.raises(ValueError, match="a mode is one of"):
            parse_mode(wrong)
