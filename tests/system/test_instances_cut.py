"""Three servers of which one does not reach its agents, or goes by a wrong clock: others mind them, and no task hears of it."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.system.cluster import eventually
from tests.system.fleet import AGENTS, INSTANCES, LINKS, SERVERS, Fleet, fleet

pytestmark = pytest.mark.system

#: The shortest that may be; an agent is passed on after half of the second.
TTL_S, LOST_AFTER_S = 2.0, 6.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    times = ("--lease-ttl", f"{TTL_S:g}s", "--lost-after", f"{LOST_AFTER_S:g}s")
    with fleet(tmp_path_factory.mktemp("cut"), *times) as made:
        yield made


@pytest.fixture
def cut(running: Fleet) -> Iterator[Fleet]:
    """The fleet, with everything in its place; no test has a task of job ``web`` started anew."""
    running.make_whole()
    before = running.runs()
    yield running
    assert running.use(running.running[0]).runs() == before


def watch_link(fleet: Fleet, agent: str, span_s: float) -> Counter[tuple[str, str]]:
    """Return in which states a link was seen, and by whom it was held, for a span."""
    seen: Counter[tuple[str, str]] = Counter()
    until = time.monotonic() + span_s
    while time.monotonic() < until:
        seen[fleet.stored(LINKS)[agent]["state"], fleet.holders().get(agent, "")] += 1
        time.sleep(0.05)
    return seen


def test_an_agent_that_one_server_is_cut_off_from_is_passed_on_and_never_lost(cut: Fleet) -> None:
    agent = AGENTS[0]
    first = cut.holders()[agent]
    cut.gates.cut(first, agent)
    began = time.monotonic()
    eventually(lambda: cut.stored(LINKS)[agent]["state"], lambda state: state == "interrupted", 3)
    eventually(lambda: cut.stored(LINKS)[agent], lambda link: link["state"] == "connected")
    assert time.monotonic() - began < LOST_AFTER_S / 2 + 2
    second = cut.holders()[agent]
    assert second != first
    assert len(cut.stored(LINKS)[agent]["failed_by"]) == 1
    # It stays there while it is not reached from where it was.
    assert set(watch_link(cut, agent, 2.0)) == {("connected", second)}
    cut.done(cut.put_job("change", len(AGENTS)))
    assert cut.use(first).metric("harpoon_agents_passed_on_total") >= 1


def test_an_agent_is_lost_only_when_its_time_is_over_and_two_servers_have_failed(cut: Fleet) -> None:
    agent = AGENTS[0]
    spawned = cut.spawned()
    for server in SERVERS:
        cut.gates.cut(server, agent)
    began = time.monotonic()
    told: list[dict] = []
    while not told or told[-1]["state"] != "lost":
        told.append(cut.stored(LINKS)[agent])
        assert time.monotonic() - began < LOST_AFTER_S + 4
        time.sleep(0.02)
    assert time.monotonic() - began > LOST_AFTER_S - 0.5
    assert [state for state in dict.fromkeys(link["state"] for link in told) if state != "connected"] == [
        "interrupted",
        "lost",
    ]
    assert len(told[-1]["failed_by"]) >= 1
    assert {task["state"] for task in cut.tasks().values() if task["agent"] == agent} == {"lost"}
    cut.gates.heal()
    eventually(lambda: cut.stored(LINKS)[agent]["state"], lambda state: state == "connected", 10)
    assert cut.spawned() == spawned


def test_a_server_with_a_wrong_clock_takes_nothing_and_says_so_until_it_is_right(cut: Fleet) -> None:
    off = SERVERS[2]
    assert cut.stop(off) == 0
    eventually(cut.holders, lambda held: len(held) == len(AGENTS) + 1 and off not in held.values())
    held = cut.holders()
    marks = eventually(cut.marks, lambda marks: all(whose == held[name] for name, (_, whose) in marks.items()))
    cut.launch(off, program=("tests.system.shifted", "-10"))
    cut.await_server(off)
    reasons = lambda: [one.get("unfit", "") for name, one in cut.stored(INSTANCES).items() if name.startswith(off)]  # noqa: E731
    assert "behind that of the others; set it right" in eventually(lambda: "".join(reasons()), bool)[0:80]
    until = time.monotonic() + 2 * TTL_S
    while time.monotonic() < until:
        assert (cut.holders(), cut.marks()) == (held, marks)
        time.sleep(0.05)
    # It answers and takes what it is told all the same.
    cut.done(cut.put_job("told", len(AGENTS)))
    assert cut.stop(off) == 0
    cut.launch(off)
    cut.await_server(off)
    eventually(reasons, lambda told: told == [""])
    cut.settle()
