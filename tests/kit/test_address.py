"""Which addresses only this machine reaches."""

import pytest

from harpoon.kit.address import is_local_name, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "127.0.0.1.example.org"])
def test_what_others_may_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1:4450", "localhost", "LOCALHOST:80", "[::1]:4450", "[::1]"])
def test_names_that_only_this_machine_uses_for_itself(host: str) -> None:
    assert is_local_name(host)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4450", "", "[fe80::1]:80", "127.0.0.1.evil.example"])
def test_names_that_a_stranger_may_have_chosen(host: str) -> None:
    assert not is_local_name(host)
