"""Agents as they register."""

from typing import Any

import pytest

from harpoon.model.agent import Agent, Capacity, PortRange


def an_agent(**changes: Any) -> Agent:
    fields: dict[str, Any] = {
        "name": "a1",
        "uid": "u",
        "endpoint": "http://127.0.0.1:4451",
        "capacity": Capacity(cpu=4000, memory=1 << 30),
        "ports": PortRange(low=20_000, high=29_999),
    }
    return Agent(**fields | changes)


def test_an_agent_has_a_name_a_url_and_a_range_of_ports() -> None:
    assert an_agent(endpoint="https://host").ports.high == 29_999
    assert an_agent(endpoint="http://[::1]:65535/below/a-proxy").uid == "u"
    assert PortRange(low=1, high=1).low == 1
    assert an_agent(capacity=Capacity(cpu=0, memory=0, named={"gpu": 0, "a_b-c": 10**9})).capacity.named["gpu"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "A1"}, "an agent's name is 1 to 63"),
        ({"name": "../a"}, "an agent's name is 1 to 63"),
        ({"endpoint": "127.0.0.1:4451"}, "endpoint is a URL"),
        ({"endpoint": "unix:///run/agent"}, "endpoint is a URL"),
        ({"endpoint": "http://user:password@host"}, "holds no user"),
        ({"endpoint": "http://" + "a" * 64}, "endpoint is a URL"),
        ({"endpoint": "http://a..b"}, "endpoint is a URL"),
        ({"endpoint": "http://host:0"}, "the port of an endpoint"),
        ({"endpoint": "http://host:65536"}, "the port of an endpoint"),
        ({"capacity": Capacity(cpu=0, memory=0, named={"GPU": 1})}, "a resource's name is 1 to 63"),
        ({"capacity": Capacity(cpu=0, memory=0, named={"gpu": -1})}, "gpu is a whole number from 0"),
        ({"facts": {"a": "x" * 5000}}, "tags and facts are at most"),
        ({"tags": {str(number): "" for number in range(300)}}, "tags and facts are at most"),
    ],
)
def test_another_agent_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        an_agent(**changes)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 1), (1, 65_536)])
def test_another_range_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="a port range is low to high"):
        PortRange(low=low, high=high)
