"""What operations have done with jobs: what can be told of an order without its expressions."""

from datetime import timedelta

import pytest

from harpoon.kit.codec import load
from harpoon.kit.errors import Invalid
from harpoon.model.orders import JobOrder, TaskOrder, Until


def test_a_task_tells_what_expressions_may_stand_in():
    order = TaskOrder(task={"command": ["x", "${inputs.n}"]})
    assert order.template() == {"task": {"command": ["x", "${inputs.n}"]}}
    assert order.keep == timedelta(hours=1)
    placed = TaskOrder(task={}, placement={"require": []}, exclusive=True)
    assert placed.template() == {"task": {}, "placement": {"require": []}}


@pytest.mark.parametrize(
    ("order", "template"),
    [
        (JobOrder(schedule="web", spec={"task": {}}), {"schedule": "web", "spec": {"task": {}}}),
        (JobOrder(migrate="web", set_={"scale": 2}), {"migrate": "web", "set": {"scale": 2}}),
        (JobOrder(migrate="web", spec={}, until=Until.CANARIES), {"migrate": "web", "spec": {}}),
        (JobOrder(scale="${inputs.job}", to="${inputs.n}"), {"scale": "${inputs.job}", "to": "${inputs.n}"}),
        (JobOrder(unschedule="web"), {"unschedule": "web"}),
        (JobOrder(promote="web"), {"promote": "web"}),
        (JobOrder(undo="web", to=3), {"undo": "web", "to": 3}),
    ],
)
def test_a_job_is_named_by_its_verb(order, template):
    assert order.template() == template
    assert order.name == template[order.verb]


@pytest.mark.parametrize(
    ("kind", "told", "because"),
    [
        (TaskOrder, b'{"task": {}, "priority": 101}', "priority is 0 to 100"),
        (TaskOrder, b'{"task": {}, "exclusive": true, "on_lost": "replace"}', "would run it twice"),
        (TaskOrder, b'{"task": {}, "placement": {"agents": ["a1"]}}', "write placement.require"),
        (TaskOrder, b'{"task": {}, "keep": "91d"}', "keep is 0s to 90d"),
        (JobOrder, b"{}", "exactly one of schedule, migrate, scale, unschedule, promote, undo"),
        (JobOrder, b'{"promote": "a", "undo": "a"}', "exactly one of"),
        (JobOrder, b'{"schedule": "a"}', "schedule takes spec"),
        (JobOrder, b'{"migrate": "a", "spec": {}, "set": {}}', "migrate takes either spec or set"),
        (JobOrder, b'{"scale": "a"}', "scale takes to"),
        (JobOrder, b'{"unschedule": "a", "to": 1}', "unschedule takes none"),
        (JobOrder, b'{"promote": "A"}', "promote is 1 to 63"),
        (JobOrder, b'{"scale": "a", "to": "3"}', "to is a whole number, or an expression"),
        (JobOrder, b'{"promote": "a", "until": "canaries"}', "until: canaries is for migrate"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(kind, told, because):
    with pytest.raises(Invalid, match=because):
        load(kind, told)
