"""Limits that instances keep together: whose turn it is, what is void, and what is told of how a key stands."""

from harpoon.core.homes import Given, Report, Standing, Want
from harpoon.core.offers import Stand
from tests.core.exchanging import an_asker, an_id, an_offer, ops, take
from tests.core.limiting import SHARDS, Node, World


def two(most: int = 1) -> tuple[World, Node, Node]:
    """Two instances: the first is the home of ``k0`` and has the runs of the first shard, the other has the rest."""
    world = World(most)
    here, away = world.join(), world.join()
    for shard in range(SHARDS):
        world.take(away if shard else here, shard)
    catch_up(world)
    return world, here, away


def catch_up(world: World) -> None:
    """Let all see what there is, conduct what is theirs, and write what they have decided."""
    for node in world.nodes.values():
        world.see(node, len(world.history) - 1)
        for shard in list(node.took):
            world.conduct(node, shard)
        world.flush(node, len(node.writes))


def told(world: World) -> None:
    """Let all tell one another all there is."""
    for node in list(world.nodes.values()):
        for home in sorted(node.homes.others()):
            world.tell(node, home)
            world.hear(-1)
    for node in list(world.nodes.values()):
        for one in sorted(node.polls):
            world.answer(node, one)
            world.receive(-1)
    catch_up(world)


def shown(node: Node, key: str = "k0") -> Standing:
    return node.exchange.gates.standing("default", key)


def claimed(world: World) -> list[str]:
    return sorted(id_.run for id_ in world.claims)


def test_nothing_is_given_out_before_all_is_known_and_who_is_missing_is_told() -> None:
    world, here, away = two()
    world.begin("r0", "k0")
    world.ask(here, 1)
    catch_up(world)
    assert claimed(world) == []
    assert [here.exchange.stand(id_) for id_ in world.open] == [Stand.PARKED]
    assert shown(here) == Standing(0, (), (away.name,), is_closed=True, home=here.name)
    assert here.homes.here() == (1, 0)
    world.ask(here, 1, is_staying=True)
    told(world)
    assert here.homes.here() == (1, 1)
    assert claimed(world) == ["r0"]
    assert shown(here) == Standing(1, ("r0",), home=here.name)


def test_who_is_elsewhere_asks_for_what_its_workers_ask_for_and_no_more() -> None:
    world, here, away = two(most=3)
    for run in ("r1", "r4", "r1", "r4"):
        world.begin(run, "k0")
    told(world)
    assert not away.exchange.gates.report(away.homes, here.name, 99).wants
    world.ask(away, 1, is_staying=True)
    assert away.exchange.gates.report(away.homes, here.name, 99).wants == {("default", "k0"): Want(1, 3)}
    told(world)
    assert len(world.claims) == 1
    assert shown(here).held == 1


def test_here_and_elsewhere_take_turns() -> None:
    world, here, away = two()
    for run in ("r0", "r1", "r0", "r1", "r0", "r1"):
        world.begin(run, "k0")
    told(world)
    turns = []
    for _ in range(6):
        world.ask(here, 1, is_staying=True)
        world.ask(away, 1, is_staying=True)
        for _ in range(3):
            told(world)
        [id_] = world.claims
        turns.append(id_.run)
        # What comes of a report that takes the place of another is no loss of its turn.
        for _ in range(2):
            world.tell(away, here.name)
            world.hear(-1)
            for node in (here, away):
                world.close(node, id_)
                world.flush(node, len(node.writes))
    assert sorted(turns) == ["r0"] * 3 + ["r1"] * 3
    assert all(turns[place : place + 3] not in (["r0"] * 3, ["r1"] * 3) for place in range(4))


def test_what_one_has_that_left_is_free_once_all_it_conducted_is_known_again() -> None:
    world, here, away = two()
    world.begin("r1", "k0")
    world.ask(away, 1, is_staying=True)
    told(world)
    assert claimed(world) == ["r1"]
    world.begin("r0", "k0")
    world.ask(here, 1, is_staying=True)
    world.die(away, 0)
    catch_up(world)
    assert claimed(world) == ["r1"]
    assert shown(here) == Standing(0, (), is_closed=True, home=here.name)
    # Whoever conducts it next finds the claim.
    for shard in range(1, SHARDS):
        world.take(here, shard)
    catch_up(world)
    assert claimed(world) == ["r1"]
    assert shown(here).held == 1
    [id_] = world.claims
    world.close(here, id_)
    catch_up(world)
    catch_up(world)
    assert claimed(world) == ["r0"]


def test_what_was_wanted_by_one_that_left_is_given_to_nobody() -> None:
    world, here, away = two()
    gates = here.exchange.gates
    gates.hear(here.homes, away.name, Report(7, {}, {}, {}, {("default", "k0"): Want(1, 1)}, {}))
    assert len(gates) == 1
    world.lose(away)
    here.call(gates.see(here.homes, *world.history[-1]))
    assert len(gates) == 0
    gates.share_out()
    assert gates.granted == {}
    # Nor is one heard any more that is not there.
    assert gates.hear(here.homes, away.name, Report(8, {}, {}, {}, {}, {})) is None


def test_an_answer_that_comes_after_the_home_has_moved_is_void() -> None:
    world, here, away = two()
    world.begin("r1", "k0")
    world.ask(away, 1, is_staying=True)
    world.tell(here, away.name)
    world.hear(-1)
    world.tell(away, here.name)
    world.hear(-1)
    world.answer(here, away.name)
    assert world.answers[-1].given.grants == {("default", "k0"): 1}
    world.leave(here, 0, is_written=True)
    world.take(away, 0)
    catch_up(world)
    world.receive(-1)
    catch_up(world)
    # It is its own home now, and knows all claims there are.
    assert (claimed(world), shown(away).home) == (["r1"], away.name)


def test_permits_that_were_given_under_a_higher_limit_are_of_no_use_under_a_lower_one() -> None:
    world, here, away = two(most=3)
    exchange, gates = away.exchange, away.exchange.gates
    exchange.offer([an_offer("r1", "high", limit=("k0", 3))], 0)
    exchange.ask(an_asker(want=1))
    exchange.deal(0)
    report = gates.report(away.homes, here.name, 50)
    exchange.forget([an_id("r1", "high")])
    away.call(gates.receive(away.homes, here.name, report, Given({("default", "k0"): 1}, {})))
    exchange.offer([an_offer("r1", "low", limit=("k0", 2))], 0)
    assert ops(take(exchange, an_asker("w2"))) == []
    exchange.offer([an_offer("r4", "high", limit=("k0", 3), handler="sign")], 0)
    assert ops(take(exchange, an_asker("w3", handlers=["sign"]))) == ["high"]
    # What was not asked for is not taken, and nothing is said of what nobody knows.
    away.call(
        gates.receive(away.homes, here.name, report, Given({("default", "k1"): 1}, {("else", "k0"): shown(away)}))
    )
    assert world.most == 3


def test_how_a_key_stands_is_told_by_its_home() -> None:
    world, here, away = two()
    world.begin("r0", "k0")
    world.begin("r1", "k0")
    told(world)
    world.ask(here, 1, is_staying=True)
    catch_up(world)
    world.ask(away, 1, is_staying=True)
    told(world)
    assert shown(away) == Standing(1, ("r0",), home=here.name)
    away.exchange.gates.silent.add(here.name)
    assert shown(away).is_silent
    world.lose(here)
    catch_up(world)
    assert shown(away) == Standing(0, (), is_closed=True)


def test_who_conducts_nothing_any_more_keeps_no_permits() -> None:
    world, here, away = two()
    world.begin("r1", "k0")
    world.ask(away, 1)
    told(world)
    assert shown(here).held == 1
    for shard in range(1, SHARDS):
        world.leave(away, shard, is_written=True)
    assert away.exchange.gates.report(away.homes, here.name, 99).held == {}
    # Nor takes any.
    asked = Report(99, {}, away.homes.of_instance(here.name), {}, {("default", "k0"): Want(1, 1)}, {})
    assert away.exchange.gates.receive(away.homes, here.name, asked, Given({("default", "k0"): 1}, {})) == []
    assert away.exchange.gates.report(away.homes, here.name, 100).held == {}
    away.exchange.gates.stirred.clear()
    away.exchange.gates.conduct(away.homes, {})
    assert not away.exchange.gates.stirred


def test_claims_of_one_run_count_until_the_end_of_each_is_durable() -> None:
    world, here, _ = two(most=2)
    told(world)
    for _ in range(4):
        world.begin("r0", "k0")
    world.ask(here, 9)
    catch_up(world)
    first, second = sorted(world.claims)
    world.close(here, first)
    world.close(here, second)
    assert shown(here).held == 2
    assert here.exchange.withheld("default", "r0") == (first, second)
    for left in (1, 0):
        world.flush(here, 1)
        assert len(here.exchange.withheld("default", "r0")) == left
        assert shown(here).held == left
    here.exchange.settle([first, second])
    world.ask(here, 9)
    catch_up(world)
    assert len(world.claims) == 2


def test_what_was_called_and_is_withdrawn_makes_room_for_another() -> None:
    world, here, away = two()
    world.begin("r1", "k0")
    world.begin("r4", "k0")
    world.ask(away, 2)
    told(world)
    called = next(id_ for id_ in world.open if away.exchange.stand(id_) is Stand.IN_LINE)
    away.exchange.forget([called])
    [other] = [id_ for id_ in world.open if id_ != called]
    assert away.exchange.stand(other) is Stand.IN_LINE
    assert shown(here).held == 1


# What keeps more from being claimed than may be, each by itself.


def is_sure(node: Node) -> bool:
    return not shown(node).is_closed


def report(number: int, conducts: dict[int, int], homes: dict[int, int], held: int = 0) -> Report:
    """What an instance tells the home of ``k0``."""
    return Report(number, conducts, homes, {("default", "k0"): held} if held else {}, {}, {})


def test_what_was_told_an_earlier_home_does_not_count_for_a_later_one() -> None:
    world, here, _ = two()
    told(world)
    assert is_sure(here)
    world.leave(here, 0, is_written=True)
    world.take(here, 0)
    catch_up(world)
    assert not is_sure(here)
    told(world)
    assert is_sure(here)


def test_an_old_report_does_not_take_the_place_of_a_later_one() -> None:
    _, here, away = two()
    homes, conducts = away.homes.of_instance(here.name), dict(away.conducts)
    assert here.exchange.gates.hear(here.homes, away.name, report(50, conducts, homes, held=1)) is not None
    assert here.exchange.gates.hear(here.homes, away.name, report(49, conducts, homes)) is None
    assert shown(here).held == 1


def test_who_has_lost_a_shard_as_far_as_is_known_tells_nothing_of_it() -> None:
    world, here, away = two()
    homes, conducts = away.homes.of_instance(here.name), dict(away.conducts)
    # It took it anew since, and has not loaded it again.
    here.call(here.exchange.gates.hear(here.homes, away.name, report(50, {**conducts, 1: conducts[1] - 1}, homes)))
    assert not is_sure(here)
    here.call(here.exchange.gates.hear(here.homes, away.name, report(51, conducts, homes)))
    assert is_sure(here)
    # Somebody has taken it already, which the view here does not show.
    third = world.join()
    world.see(here, len(world.history) - 1)
    later = report(1, {1: conducts[1] + 9}, homes)
    here.call(here.exchange.gates.hear(here.homes, third.name, later))
    assert not is_sure(here)
    here.call(here.exchange.gates.hear(here.homes, third.name, report(2, {}, homes)))
    assert not is_sure(here)


def given(world: World, here: Node, away: Node) -> None:
    """Let the other have a permit that it has not used."""
    world.begin("r1", "k0")
    world.ask(away, 1)
    told(world)
    assert shown(here).held == 1
    assert world.claims == set()


def test_what_an_earlier_home_gave_is_void() -> None:
    world, here, away = two()
    given(world, here, away)
    world.leave(here, 0, is_written=True)
    third = world.join()
    world.take(third, 0)
    catch_up(world)
    world.ask(away, 1)
    catch_up(world)
    assert world.claims == set()
    told(world)
    told(world)
    assert shown(third).held == 1


def test_what_an_earlier_home_answers_late_is_void() -> None:
    world, here, away = two()
    world.begin("r1", "k0")
    world.ask(away, 1, is_staying=True)
    told(world)
    [id_] = world.claims
    world.close(away, id_)
    catch_up(world)
    world.begin("r1", "k0")
    world.ask(away, 1, is_staying=True)
    world.tell(away, here.name)
    world.hear(-1)
    world.answer(here, away.name)
    assert world.answers[-1].given.grants
    world.leave(here, 0, is_written=True)
    world.take(world.join(), 0)
    catch_up(world)
    world.receive(-1)
    catch_up(world)
    assert world.claims == set()
