"""Volumes pick the host: what its operator allows, and whether it can mount."""

import pytest

from harpoon.core.evidence import agents_seen
from harpoon.core.fleet import reservation
from harpoon.core.plan import Outset
from harpoon.core.seen import wanted_by
from harpoon.core.why import Case, explain
from harpoon.model.task import Reservation
from harpoon.model.volumes import Artifact, HostPath, Volume
from tests.builders import a_job, a_template, an_agent, at
from tests.core.placing import a_fleet, agents_of, put

SRV, SRV_RO = HostPath(path="/srv"), HostPath(path="/srv", read_only=True)
DATA = Volume(host="/srv/db", at="/data")
READ = Volume(host="/srv/db", at="/old", read_only=True)
SUM = "0" * 64
MOUNT = "run agent a1 as root, with `unshare` and `mount`: it puts volumes where tasks find them"


@pytest.mark.parametrize(
    ("template", "paths", "mounts"),
    [
        ({}, (), False),
        ({"volumes": (READ,)}, (("/srv/db", False),), True),
        ({"volumes": (READ, DATA)}, (("/srv/db", True),), True),
        ({"volumes": (DATA, READ)}, (("/srv/db", True),), True),
        ({"volumes": (Volume(host="/srv/z", at="z"), READ)}, (("/srv/db", False), ("/srv/z", True)), True),
        ({"volumes": (Volume(scratch=5, at="/cache"),)}, (), True),
        ({"volumes": (Volume(scratch=5, at="cache"),)}, (), False),
        ({"artifacts": (Artifact(url="file:///srv/a%20b", sha256=SUM, at="a"),)}, (("/srv/a b", False),), False),
        ({"artifacts": (Artifact(url="https://h/x", sha256=SUM, at="a"),)}, (), False),
    ],
)
def test_a_task_needs_what_its_volumes_and_files_need_also_for_who_checks_plans(template, paths, mounts):
    told = a_template(**template)
    assert reservation(told) == wanted_by(told) == Reservation(paths=paths, mounts=mounts)


def test_only_an_agent_that_allows_it_all_and_can_mount_takes_a_volume():
    agents = [
        an_agent("a1", host_paths=(SRV,)),
        an_agent("a2", mounts=True),
        an_agent("a3", host_paths=(HostPath(path="/srv/d"), SRV_RO), mounts=True),
        an_agent("a4", host_paths=(SRV_RO, HostPath(path="/srv/db")), mounts=True),
        an_agent("a5", host_paths=(HostPath(path="/"),), mounts=True),
    ]
    decision = put(a_job(scale=2, volumes=(DATA,)), a_fleet(*agents))
    assert agents_of(decision) == ["a4", "a5"]
    decision = put(a_job(volumes=(DATA,)), a_fleet(*agents[:3]))
    assert [(b.predicate, b.wanted, b.found, b.agents) for b in decision.pending.blockers] == [
        ("host path /srv/db", "allowed", "not allowed", ("a2",)),
        ("host path /srv/db", "writable", "read-only", ("a3",)),
        ("mounts", "possible", "not possible", ("a1",)),
    ]
    assert agents_of(put(a_job(volumes=(READ,)), a_fleet(*agents[:3]))) == ["a3"]


def test_a_volume_is_shared_by_as_many_tasks_as_there_is_room_for():
    fleet = a_fleet(an_agent(host_paths=(SRV,), mounts=True))
    assert agents_of(put(a_job(scale=3, volumes=(DATA,)), fleet)) == ["a1"] * 3


def test_an_agent_that_allows_another_path_now_takes_what_it_refused():
    fleet = a_fleet(an_agent(mounts=True))
    job = a_job(volumes=(DATA,))
    assert agents_of(put(job, fleet)) == []
    fleet.set_agent(an_agent(host_paths=(SRV,), mounts=True))
    assert agents_of(put(job, fleet)) == ["a1"]


@pytest.mark.parametrize(
    ("agent", "steps"),
    [
        ({"mounts": True}, ("start agent a1 with --allow-host-path /srv/db",)),
        (
            {"mounts": True, "host_paths": (SRV_RO,)},
            ("start agent a1 with --allow-host-path /srv/db, or set read_only: true on the volume of /srv/db",),
        ),
        (
            {"host_paths": (SRV,)},
            (f"start an agent as root, or {MOUNT}",),
        ),
        (
            {},
            (
                "start agent a1 with --allow-host-path /srv/db",
                MOUNT,
            ),
        ),
    ],
)
def test_what_stands_in_a_volumes_way_says_how_it_could_be_had(agent, steps):
    case = Case(job=a_job(volumes=(DATA,)), standings=(), links={}, now=at(), replacing={})
    (told,) = explain(case, a_fleet(an_agent(**agent)))
    assert told.fix.steps == steps


def test_a_plan_tells_of_agents_only_what_its_volumes_need():
    agents = [an_agent("a1", host_paths=(SRV, HostPath(path="/opt")), mounts=True), an_agent("a2", mounts=True)]
    fleet = a_fleet(*agents)
    (alike,) = agents_seen([Outset(job=a_job())], fleet)
    assert (alike.names, alike.host_paths, alike.mounts) == (("a1", "a2"), {}, False)
    first, second = agents_seen([Outset(job=a_job(volumes=(DATA, READ)))], fleet)
    assert (first.names, first.host_paths, first.mounts) == (("a1",), {"/srv/db": True}, True)
    assert (second.names, second.host_paths, second.mounts) == (("a2",), {}, True)
