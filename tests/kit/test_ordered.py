"""Orders of jobs, read strictly: as far as they are known when they are declared, and whole when they are carried out."""

from datetime import timedelta

import orjson
import pytest

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.kit.ordered import check_orders, merged, spec_of, task_spec
from harpoon.model.job import JobType, OnLost, Spec, Update
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.orders import TaskOrder
from harpoon.model.template import TaskTemplate
from harpoon.model.workflow import WorkflowSpec


def workflow(**op):
    return codec.decode(WorkflowSpec, orjson.dumps({"operations": {"do": op}}))


def refused(**op):
    with pytest.raises(Invalid) as caught:
        check_orders(workflow(**op))
    return {one.pointer.removeprefix("/spec/operations/do"): one.detail for one in caught.value.problems}


def test_a_task_becomes_a_batch_job_of_one_task():
    order = TaskOrder(task={}, priority=70, on_lost=OnLost.WAIT, keep=timedelta(minutes=2))
    spec = task_spec(order, {"task": {"command": ["x"]}, "placement": {"require": [{"tag": "a", "exists": True}]}})
    assert (spec.type, spec.completions, spec.priority, spec.on_lost) == (JobType.BATCH, None, 70, OnLost.WAIT)
    assert (spec.task.restart.policy, spec.keep) == (RestartPolicy.NEVER, timedelta(minutes=2))
    with pytest.raises(Invalid) as caught:
        task_spec(TaskOrder(task={}), {"task": {"command": ["x"], "user": "a b"}})
    assert [one.pointer for one in caught.value.problems] == ["/task"]


def test_a_patch_is_merged_and_null_takes_away():
    spec = Spec(task=TaskTemplate(command=("a",), env={"A": "1", "B": "2"}), scale=3, update=Update(canary=1))
    after = merged(spec, {"scale": 1, "task": {"command": ["b"], "env": {"A": None, "C": "3"}}, "update": None})
    assert after == Spec(task=TaskTemplate(command=("b",), env={"B": "2", "C": "3"}), scale=1)
    assert merged(spec, {"task": {"ports": {"http": 0}}}).task.ports == {"http": 0}
    with pytest.raises(Invalid, match="unknown field"):
        merged(spec, {"tasks": {}})
    with pytest.raises(Invalid, match="/scale: expected a whole number"):
        spec_of({"task": {"command": ["a"]}, "scale": "three"})


def test_what_is_known_of_an_order_is_checked_and_the_rest_is_left_for_later():
    task = {"command": ["x", "${inputs.n}", "a-${inputs.n}"], "env": {"A": "$${x}"}, "user": "${inputs.u}"}
    check_orders(workflow(task={"task": task, "placement": {"require": [{"tag": "zone", "in": ["${inputs.z}"]}]}}))
    check_orders(workflow(task={"task": {"command": "${inputs.command}"}}))
    check_orders(workflow(task={"task": {"command": ["${inputs.broken"]}}))
    check_orders(workflow(job={"schedule": "web", "spec": {"task": {"command": ["a"], "image": None}, "scale": 2}}))
    check_orders(workflow(job={"migrate": "web", "set": {"task": {"image": "a"}, "update": {"canary": 1}}}))
    check_orders(workflow(job={"promote": "web"}))
    check_orders(workflow(worker="w"))


def test_what_is_wrong_with_an_order_is_told_with_its_place():
    assert refused(task={"task": {"comand": ["x", "${inputs.n}"]}})["/task/task/comand"].startswith(
        "unknown field 'comand'; did you mean 'command'"
    )
    assert refused(task={"task": {"command": ["x"]}, "placement": {"requires": []}}).keys() == {
        "/task/placement/requires"
    }
    assert refused(task={"task": {"command": ["x"], "env": {"A": 1}}}).keys() == {"/task/task/env/A"}
    assert "restart.policy" in refused(task={"task": {"command": ["x"], "restart": {"policy": "always"}}})["/task"]
    assert refused(job={"schedule": "web", "spec": {"scale": 1}}) == {"/job/spec/task": "required, but missing"}
    told = refused(job={"migrate": "web", "set": {"task": {"imag": "a", "env": {"A": 1}}, "scale": "x"}})
    assert told.keys() == {"/job/set/task/imag", "/job/set/task/env/A", "/job/set/scale"}


def test_of_several_faults_the_first_is_the_message_and_the_rest_are_counted():
    with pytest.raises(Invalid, match=r"and 1 more"):
        check_orders(workflow(task={"task": {"command": ["x"], "a": 1, "b": 2}}))
    with pytest.raises(Invalid) as caught:
        check_orders(workflow(task={"task": {"command": ["x"], "a": 1}}))
    assert "more" not in str(caught.value)
