"""What a job may say."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpoon.kit import codec
from harpoon.model.check import Check, HttpProbe
from harpoon.model.dependency import Dependency
from harpoon.model.given import Endpoints
from harpoon.model.job import SCALE_MAX, Batch, JobType, Metadata, OnLost, OnSpent, Spec, Update
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy
from harpoon.model.rules import PlacementRules, Requirement, Spread
from harpoon.model.template import CHECKS_MAX, ENV_MAX, PORTS_MAX, TEXT_MAX, Resources, TaskTemplate
from harpoon.model.variables import expand, port_variable

HTTP = Check(http=HttpProbe(port="http"))
LONG = "a" * (TEXT_MAX + 1)


def a_template(**changes: Any) -> TaskTemplate:
    return TaskTemplate(**{"command": ("python3",)} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": ()}, "command names a program"),
        ({"command": ("",)}, "command names a program"),
        ({"command": ("a\x00",)}, "command holds no NUL"),
        ({"command": ("a", LONG)}, "at most 131072 characters"),
        ({"command": ("a", "$NOPE")}, r"\$NOPE is not in the task's environment"),
        ({"command": ("a", "100$")}, r"a lone '\$'"),
        ({"command": ("a", "${inputs.image}")}, r"only \$\{parameters\.NAME\} is supported"),
        ({"ports": {f"p{n}": 0 for n in range(PORTS_MAX + 1)}}, "ports holds at most 32"),
        ({"ports": {"Http": 0}}, "a port's name is"),
        ({"ports": {"../x": 0}}, "a port's name is"),
        ({"ports": {"http": -1}}, "port 'http' is 0"),
        ({"ports": {"http": 65536}}, "port 'http' is 0"),
        ({"ports": {"a": 80, "b": 80}}, "two ports have the same number"),
        ({"env": {f"E{n}": "" for n in range(ENV_MAX + 1)}}, "env holds at most 256"),
        ({"env": {"A-B": ""}}, "an environment variable is"),
        ({"env": {"1A": ""}}, "an environment variable is"),
        ({"env": {"": ""}}, "an environment variable is"),
        ({"env": {"A": "\x00"}}, "the value of A holds no NUL"),
        ({"env": {"A": LONG}}, "the value of A holds no NUL and at most"),
        ({"working_directory": "srv"}, "working_directory is an absolute path"),
        ({"working_directory": "/srv\x00"}, "working_directory is an absolute path"),
        ({"checks": (HTTP,)}, "a check asks port 'http', which ports does not name"),
        ({"ports": {"http": 0}, "checks": (HTTP,) * (CHECKS_MAX + 1)}, "checks holds at most 16"),
    ],
)
def test_a_template_that_could_not_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        a_template(**changes)


def test_a_template_may_use_all_it_has() -> None:
    template = a_template(
        command=("serve", "$PORT_HTTP", "$HARPOON_SLOT", "$MODE", "$$5"),
        env={"MODE": "fast"},
        ports={"http": 0, "admin": 8081, "spare": 0},
        working_directory="/srv",
        checks=(HTTP,),
    )
    assert template.checks == (HTTP,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HttpProbe(port="http", path="health"), "path starts with '/'"),
        (lambda: HttpProbe(port="http", path="/a b"), "no blanks"),
        (lambda: HttpProbe(port="http", path="/a\r\nHost: x"), "no blanks or control"),
        (lambda: HttpProbe(port="http", path="/\x7f"), "no blanks or control"),
        (lambda: replace(HTTP, every=timedelta(milliseconds=9)), "every is at least 10ms"),
        (lambda: replace(HTTP, timeout=timedelta(0)), "timeout is more than 0"),
        (lambda: replace(HTTP, ready_after=0), "ready_after and fail_after are 1 to 100"),
        (lambda: replace(HTTP, fail_after=101), "ready_after and fail_after are 1 to 100"),
        (lambda: Backoff(factor=0.5), "factor is 1 to 100"),
        (lambda: Backoff(factor=float("nan")), "factor is 1 to 100"),
        (lambda: Backoff(jitter=1.1), "jitter is 0 to 1"),
        (lambda: Backoff(initial=timedelta(minutes=2)), "initial is at most max"),
        (lambda: Restart(attempts=-1), "attempts is 0 to 1000"),
        (lambda: Requirement(tag="zone"), "exactly one of equals"),
        (lambda: Requirement(tag="zone", equals="a", exists=True), "exactly one of equals"),
        (lambda: Update(surge=-1), "surge and unavailable are 0 to"),
        (lambda: Update(unavailable=SCALE_MAX + 1), "surge and unavailable are 0 to"),
        (lambda: Update(surge=0), "not both 0"),
        (lambda: Resources(named={f"r{n}": 1 for n in range(17)}), "named holds at most 16"),
        (lambda: Resources(pids=-1), "pids is 1 to 4194304, or 0"),
        (lambda: Resources(pids=4_194_305), "pids is 1 to 4194304, or 0"),
        (lambda: a_template(user=""), "user is a name, or numbers"),
        (lambda: a_template(user="-x"), "user is a name, or numbers"),
        (lambda: a_template(user="a b"), "user is a name, or numbers"),
        (lambda: a_template(user="web:www"), "user is a name, or numbers"),
        (lambda: a_template(user="1:"), "user is a name, or numbers"),
        (lambda: a_template(user="4294967295"), "user is a name, or numbers"),
        (lambda: a_template(user="1:4294967295"), "user is a name, or numbers"),
        (lambda: Resources(named={"cpu": 1}), "write resources.cpu of a task, --cpu of an agent"),
        (lambda: Resources(named={"memory": 1}), "memory is no named resource"),
        (lambda: Resources(named={"a b": 1}), "a resource's name is 1 to 63"),
        (lambda: Resources(named={"gpu-": 1}), "a resource's name is 1 to 63"),
        (lambda: Resources(named={"gpu": -1}), "gpu is a whole number from 0 to 1000000000; got -1"),
        (lambda: Resources(named={"gpu": 10**9 + 1}), "gpu is a whole number"),
        (lambda: Spec(task=a_template(), scale=-1), "scale is 0 to 10000"),
        (lambda: Spec(task=a_template(), scale=SCALE_MAX + 1), "scale is 0 to 10000"),
        (lambda: Metadata(name="Web"), "name is 1 to 63"),
        (lambda: Spec(task=a_template(), depends_on=(Dependency(job="a"),) * 2), "names a job or a run twice"),
        (
            lambda: Spec(task=a_template(), depends_on=tuple(Dependency(job=f"j{n}") for n in range(33))),
            "depends_on holds at most 32",
        ),
        (lambda: Dependency(job="A"), "job is 1 to 63"),
        (lambda: PlacementRules(spread=(Spread(tag="zone"),) * 33), "at most 32 each"),
        (lambda: PlacementRules(agents=("a1", "A2")), "agents is 1 to 63 of a-z"),
        (lambda: PlacementRules(agents=("a1", "a2", "a1")), "agents names a1 twice"),
        (lambda: PlacementRules(agents=("a1",), spread=(Spread(tag="zone"),)), "leaves the other rules no meaning"),
        (lambda: Metadata(name="web", namespace="a/b"), "namespace is 1 to 63"),
        (lambda: Metadata(name="web", tags={str(n): "" for n in range(65)}), "tags holds at most 64"),
        (lambda: Metadata(name="web", tags={"": ""}), "keys of 1 to 63"),
        (lambda: Metadata(name="web", tags={"k" * 64: ""}), "keys of 1 to 63"),
        (lambda: Metadata(name="web", tags={"k": "v" * 256}), "values of at most 255"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("test", [{"equals": ""}, {"in_": ()}, {"not_in": ("a",)}, {"exists": False}])
def test_a_requirement_has_one_test_even_if_its_value_is_empty(test: dict[str, Any]) -> None:
    assert Requirement(tag="zone", **test).tag == "zone"


def test_a_scale_of_nothing_and_an_update_that_breaks_before_it_makes_are_fine() -> None:
    assert Spec(task=a_template(), scale=0, update=Update(surge=0, unavailable=1)).scale == 0


def test_variables_are_expanded_once() -> None:
    variables = {"A": "$B", "B": "x", "_1": "y"}
    assert expand("$A-$B$B/$_1 $$A $$$B", variables) == "$B-xx/y $A $x"
    assert expand("no dollar", {}) == "no dollar"


@pytest.mark.parametrize("text", ["$", "a$ b", "$1", "$-", "${A}", "$C", "$$$"])
def test_a_dollar_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        expand(text, {"A": "x"})


@given(st.text())
def test_a_text_with_its_dollars_doubled_stands_for_itself(text: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == text


def test_a_port_has_a_variable_of_its_name() -> None:
    assert port_variable("http_2") == "PORT_HTTP_2"


ONCE = Restart(policy=RestartPolicy.NEVER)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"completions": 0}, "completions is 1 to 1000"),
        ({"completions": 1001}, "completions is 1 to 1000"),
        ({"completions": 2, "scale": 3}, "a batch job says completions"),
        ({"parallel": 0}, "parallel is 1 to 1000"),
        ({"attempts": 0}, "attempts is 1 to 100"),
        ({"attempts": 101}, "attempts is 1 to 100"),
        ({"deadline": timedelta(milliseconds=999)}, "deadline is 1s to 90d"),
        ({"deadline": timedelta(days=91)}, "deadline is 1s to 90d"),
        ({"keep": timedelta(days=91)}, "keep is 0s to 90d"),
        ({"update": Update(surge=2)}, "a batch job whose template changes starts over"),
        ({"placement": PlacementRules(agents=("a1", "a2")), "completions": 3}, "completions is 2, one for each of"),
        ({"placement": PlacementRules(agents=("a1",)), "on_lost": OnLost.REPLACE}, "a slot is for its agent; leave it"),
        (
            {"placement": PlacementRules(agents=tuple(f"a{number}" for number in range(1001)))},
            "placement.agents names at most 1000",
        ),
    ],
)
def test_what_a_batch_job_may_not_say_is_refused_with_the_fix(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Spec(type=JobType.BATCH, task=a_template(), **fields)


def test_a_batch_task_is_not_started_again_unless_that_is_said_and_never_always() -> None:
    assert Spec(type=JobType.BATCH, task=a_template()).task.restart == ONCE
    again = Restart(policy=RestartPolicy.ON_FAILURE)
    assert Spec(type=JobType.BATCH, task=a_template(restart=again)).task.restart == again
    with pytest.raises(ValueError, match="always would never let a batch job end"):
        Spec(type=JobType.BATCH, task=a_template(restart=Restart()))


def test_a_batch_job_means_by_what_it_leaves_out_one_task_with_one_attempt_kept_for_a_day() -> None:
    spec = Spec(type=JobType.BATCH, task=a_template())
    assert (spec.scale, spec.batch) == (
        1,
        Batch(
            completions=1,
            parallel=1,
            attempts=1,
            deadline=None,
            keep=timedelta(hours=24),
            on_failure=OnSpent.STOP,
        ),
    )
    many = Spec(type=JobType.BATCH, task=a_template(), completions=4, parallel=9, keep=timedelta(0))
    assert (many.scale, many.batch.parallel, many.batch.keep) == (4, 4, timedelta(0))


def test_a_batch_job_that_names_its_agents_has_a_slot_for_each_and_waits_for_those_that_are_lost() -> None:
    rules = PlacementRules(agents=("a2", "a1"))
    for spec in (
        Spec(type=JobType.BATCH, task=a_template(), placement=rules),
        Spec(type=JobType.BATCH, task=a_template(), placement=rules, completions=2, scale=2),
    ):
        assert (spec.scale, spec.batch.completions, spec.batch.parallel, spec.waits_for_lost) == (2, 2, 2, True)
    assert not Spec(type=JobType.BATCH, task=a_template()).waits_for_lost


def test_a_batch_job_that_names_its_agents_is_read_as_it_is_written() -> None:
    rules = PlacementRules(agents=("a2", "a1"))
    spec = Spec(type=JobType.BATCH, task=a_template(), placement=rules, on_failure=OnSpent.FINISH)
    for data in (codec.dump(spec), codec.dump_full(spec)):
        assert codec.decode(Spec, data) == spec


def test_what_is_for_batch_jobs_is_refused_elsewhere() -> None:
    for other in (JobType.SERVICE, JobType.SYSTEM):
        with pytest.raises(ValueError, match=r"placement\.agents is for type: batch"):
            Spec(task=a_template(), type=other, placement=PlacementRules(agents=("a1",)))
    with pytest.raises(ValueError, match="on_failure is for type: batch"):
        Spec(task=a_template(), on_failure=OnSpent.STOP)
    with pytest.raises(ValueError, match="completions and keep are for type: batch"):
        Spec(task=a_template(), completions=2, keep=timedelta(hours=1))
    with pytest.raises(ValueError, match="attempts is for type: batch"):
        Spec(task=a_template(), attempts=2)


def test_a_job_names_those_that_it_waits_for_and_those_whose_endpoints_it_is_given():
    api = Endpoints(endpoints="api/http")
    assert (api.job, api.port) == ("api", "http")
    spec = Spec(task=TaskTemplate(command=("true",), env={"API": api}), depends_on=(Dependency(job="db"),))
    assert spec.others() == {"api", "db"}
