"""The keys that secrets are encrypted with: the file, and what is bound to its place."""

import os
from pathlib import Path

import pytest

from harpoon.control.keyring import KEYS_MAX, Keyring, NoKeys, Unopened, check_key_id, ids_in, new_key
from harpoon.kit.errors import Invalid
from harpoon.model.sensitive import Sensitive

VALUE = Sensitive(b"hunter2")


def write(path: Path, *lines: str, mode: int = 0o600) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(mode)
    return path


def test_what_is_sealed_opens_where_it_was_to_stand_and_nowhere_else(tmp_path: Path) -> None:
    keyring = Keyring(write(tmp_path / "keys", "# ours", "", new_key("one")))
    box = keyring.seal(VALUE, ("default", "db", "password"))
    assert (box.key_id, keyring.open(box, ("default", "db", "password"))) == ("one", VALUE)
    assert "hunter2" not in repr(box)
    for elsewhere in (("shop", "db", "password"), ("default", "db"), ("default", "dbp", "assword")):
        with pytest.raises(Unopened, match="damaged, or moved"):
            keyring.open(box, elsewhere)
    for damaged in (box._replace(data=box.data[::-1]), box._replace(nonce="AAAA"), box._replace(data="?")):
        with pytest.raises(Unopened, match="damaged, or moved"):
            keyring.open(damaged, ("default", "db", "password"))


def test_equal_values_are_never_sealed_alike(tmp_path: Path) -> None:
    keyring = Keyring(write(tmp_path / "keys", new_key("one")))
    assert len({keyring.seal(VALUE, ("a",)) for _ in range(50)}) == 50


def test_the_first_key_seals_and_every_one_opens_also_such_as_came_later(tmp_path: Path) -> None:
    one, two = new_key("one"), new_key("two")
    old, new = Keyring(write(tmp_path / "keys", one)), Keyring(write(tmp_path / "new", two, one))
    assert new.open(old.seal(VALUE, ("a",)), ("a",)) == VALUE
    box = new.seal(VALUE, ("a",))
    assert box.key_id == new.newest == "two"
    with pytest.raises(Unopened, match="key 'two', which the key file of this server does not have"):
        old.open(box, ("a",))
    write(tmp_path / "keys", two, one)
    assert old.open(box, ("a",)) == VALUE


def test_a_file_that_was_spoilt_while_it_is_used_does_no_harm(tmp_path: Path) -> None:
    keyring = Keyring(write(tmp_path / "keys", new_key("one")))
    box = keyring.seal(VALUE, ("a",))
    write(tmp_path / "keys", "nonsense")
    assert keyring.open(keyring.seal(VALUE, ("b",)), ("b",)) == keyring.open(box, ("a",)) == VALUE


def test_a_server_without_keys_says_how_to_come_by_some() -> None:
    keyring = Keyring()
    keyring.check()
    with pytest.raises(NoKeys, match="harpoon secret new-key FILE"):
        keyring.seal(VALUE, ("a",))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Invalid, match="others may read it; run: chmod 600"):
        Keyring(write(tmp_path / "keys", new_key("one"), mode=mode)).check()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "it is to have 1 to 32 keys; got 0"),
        (("# nothing",), "got 0"),
        (tuple(new_key(f"k{n}") for n in range(KEYS_MAX + 1)), "got 33"),
        ((new_key("one"), new_key("one")), "line 2: key one stands twice"),
        (("one c2hvcnQ=",), "line 1: a line is an id and 32 bytes in base64"),
        (("one",), "line 1: a line is an id"),
        ((f"{new_key('one')} more",), "line 1: a line is an id"),
        ((new_key("one").replace("one", "-"),), "line 1: a line is an id"),
        (("x" * (17 << 10),), "more than 16384 bytes"),
    ],
)
def test_files_that_are_none_are_refused_and_never_quoted(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        ids_in(write(tmp_path / "keys", *lines))
    assert not any(line.split()[-1] in str(refused.value) for line in lines if len(line) > 40)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        Keyring(tmp_path / "nothing").check()
    with pytest.raises(Invalid, match=r"Is a directory|it is no file"):
        Keyring(tmp_path).check()
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(Invalid, match="it is no file"):
        Keyring(tmp_path / "pipe").check()


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "keys", new_key("one"))
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        monkeypatch.setattr("harpoon.control.keyring.os.geteuid", lambda: 12345)
    with pytest.raises(Invalid, match="it belongs to another user"):
        Keyring(path).check()


@pytest.mark.parametrize("key_id", ["", "-a", "a b", "a" * 64, "ä"])
def test_ids_that_are_none_are_refused(key_id: str) -> None:
    with pytest.raises(Invalid, match="a key's id is"):
        check_key_id(key_id)
