"""A task goes only where its driver is offered, and whoever asks why is told both values."""

from harpoon.core.fleet import reservation
from harpoon.core.plan import Outset
from harpoon.core.seen import wanted_by
from harpoon.core.verify import verify
from harpoon.core.why import Case, explain
from harpoon.model.template import Driver
from harpoon.model.volumes import HostPath, Volume
from tests.builders import a_job, a_template, an_agent, at
from tests.core.placing import a_fleet, agents_of, put
from tests.core.test_verify import a_plan, change_agents

BOTH = ("docker", "process")


def docker_job(**fields):
    return a_job(driver=Driver.DOCKER, image="nginx:1.25", command=(), **fields)


def test_a_task_asks_for_its_driver_and_reserves_nothing_by_that():
    assert reservation(a_template()).driver == "process"
    assert reservation(docker_job().spec.task).driver == "docker"


def test_what_a_container_has_of_its_host_must_be_allowed_and_takes_no_agent_that_mounts():
    volumes = (Volume(host="/srv", at="/data"), Volume(scratch=1, at="/cache"))
    job = docker_job(scale=2, volumes=volumes)
    need = reservation(job.spec.task)
    assert (need.paths, need.mounts, wanted_by(job.spec.task)) == ((("/srv", True),), False, need)
    assert reservation(a_template(volumes=volumes)).mounts
    allowed = (HostPath(path="/srv"),)
    agents = (an_agent("a1", drivers=BOTH), an_agent("a2", drivers=BOTH, host_paths=allowed, mounts=False))
    fleet = a_fleet(*agents, an_agent("a3", host_paths=allowed, mounts=True))
    assert agents_of(put(job, fleet)) == ["a2", "a2"]
    plan = a_plan([Outset(job=job, standings=(), replacing={})], fleet)
    assert verify(plan) == ()
    assert next(fault.detail for fault in verify(change_agents(plan, ["a2"], host_paths={}))) == (
        "a2: host path /srv is not allowed, not allowed"
    )


def test_a_container_goes_where_there_is_an_engine():
    fleet = a_fleet(an_agent("a1"), an_agent("a2", drivers=BOTH), an_agent("a3", drivers=("docker",)))
    assert agents_of(put(docker_job(scale=4), fleet)) == ["a2", "a3", "a2", "a3"]
    assert agents_of(put(a_job(scale=4), fleet)) == ["a1", "a2", "a1", "a2"]


def test_where_there_is_none_both_values_are_told_and_a_way_out():
    fleet = a_fleet(an_agent("a1"), an_agent("a2", drivers=()))
    decision = put(docker_job(), fleet)
    assert [(b.predicate, b.wanted, b.found, b.agents) for b in decision.pending.blockers] == [
        ("driver", "docker", "none", ("a2",)),
        ("driver", "docker", "process", ("a1",)),
    ]
    (told,) = explain(Case(job=docker_job(), standings=(), links={}, now=at(), replacing={}), fleet)
    assert told.fix.steps == (
        "let agent a1 run docker tasks: it offers process, as it registered; or start an agent that has docker",
    )


def test_the_way_out_is_one_step_of_several_where_more_is_missing():
    fleet = a_fleet(an_agent("a1", cpu=100))
    case = Case(job=docker_job(cpu=200), standings=(), links={}, now=at(), replacing={})
    (told,) = explain(case, fleet)
    assert "let agent a1 run docker tasks: it offers process, as it registered" in told.fix.steps
    assert len(told.fix.steps) == 2


def test_an_agent_that_gets_an_engine_takes_containers_from_then_on():
    fleet = a_fleet(an_agent("a1"))
    assert agents_of(put(docker_job(), fleet)) == []
    fleet.set_agent(an_agent("a1", drivers=BOTH))
    assert agents_of(put(docker_job(), fleet)) == ["a1"]


def test_a_plan_that_puts_a_container_where_no_engine_is_is_found_out():
    fleet = a_fleet(an_agent("a1", drivers=BOTH), an_agent("a2"))
    job = docker_job(scale=2)
    plan = a_plan([Outset(job=job, standings=(), replacing={})], fleet)
    assert verify(plan) == ()
    (fault, *_) = verify(change_agents(plan, ["a1"], drivers=("process",)))
    assert fault.detail == "a1: driver is process, not docker"
    nowhere = a_plan([Outset(job=job, standings=(), replacing={})], a_fleet(an_agent("a2"), an_agent("a3", drivers=())))
    assert verify(nowhere) == ()
    assert {(b.wanted, b.found) for b in nowhere.jobs[0].plan.pending.blockers} == {
        ("docker", "process"),
        ("docker", "none"),
    }
