"""What processes log is what happened: the product's own lines, taken apart."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from harpoon.kit.errors import Fenced
from harpoon.model.command import ForgetTask, StartTask, StopTask
from harpoon.model.name import TaskId
from harpoon.model.template import TaskTemplate
from harpoon.model.token import Token
from tests.agent.rig import TOKEN, agent
from tests.proof.history import Adopted, Applied, Booted, Held, Sent
from tests.proof.logs import events_of

PAIR = (TOKEN.incarnation, TOKEN.revision)


def start(number: int) -> StartTask:
    return StartTask(
        task=TaskId(f"default.a.{number}.1-5"),
        generation="g",
        template=TaskTemplate(command=("sleep", "1000")),
        reason="scheduled: it fits",
    )


def applied(lines: list) -> list[Applied]:
    told = [event for line in lines for event in events_of("a1", 1.0, json.loads(json.dumps(line, default=str)))]
    return [event for event in told if isinstance(event, Applied)]


async def test_what_an_agent_carries_out_is_told_command_by_command(tmp_path):
    forget = ForgetTask(task=TaskId("default.a.0.1-5"), reason="gone")
    async with agent(tmp_path) as rig:
        with capture_logs() as lines:
            await rig.send(start(0), forget, StopTask(task=start(0).task, reason="no placement asks for it any more"))
            await rig.send(
                ForgetTask(task=TaskId("default.b.0.1-5"), reason="its placement is revoked", is_denied=True)
            )
            await rig.send(
                StartTask(task=TaskId("default.b.0.1-4"), generation="g", template=start(0).template, reason="late")
            )
    told = [(one.command, one.task, one.is_ok, one.is_denied) for one in applied(lines)]
    assert told == [
        ("start", "default.a.0.1-5", True, False),
        ("forget", "default.a.0.1-5", False, False),
        ("stop", "default.a.0.1-5", True, False),
        ("forget", "default.b.0.1-5", True, True),
        ("start", "default.b.0.1-4", False, True),
    ]
    assert {(one.token, one.instance) for one in applied(lines)} == {(PAIR, "server-1")}


async def test_what_was_carried_out_before_a_batch_was_fenced_off_is_told_before_who_fenced_it_off(tmp_path):
    async with agent(tmp_path) as rig:
        await rig.adopt()
        with capture_logs() as lines:
            batch = asyncio.ensure_future(rig.send(*(start(number) for number in range(400))))
            while not applied(lines):
                await asyncio.sleep(0)
            higher = Token(incarnation=TOKEN.incarnation, revision=TOKEN.revision + 1)
            snapshot = await rig.adopt(higher, instance="server-2")
            with pytest.raises(Fenced):
                await batch
    told = applied(lines)
    assert 0 < len(told) < 400
    assert {one.task for one in told} == {str(task.id) for task in snapshot.tasks}
    names = [line["event"] for line in lines if line["event"] in ("adopted", "commands_carried_out")]
    assert names[-1] == "adopted"


def test_a_line_that_is_not_part_of_a_history_tells_nothing():
    assert events_of("a1", 1.0, {"event": "task_ended", "task": "x"}) == ()
    assert events_of("a1", 1.0, {}) == ()


def test_each_line_is_one_kind_of_event():
    token = {"token": "1.7"}
    assert events_of("i1", 2.0, {"event": "leading", **token}) == (
        Held(t=2.0, node="i1", what="scheduler", token=(1, 7)),
    )
    assert events_of("i1", 2.0, {"event": "agent_held", "agent": "a1", **token}) == (
        Held(t=2.0, node="i1", what="a1", token=(1, 7)),
    )
    assert events_of(
        "i1", 2.0, {"event": "commands_sent", "agent": "a1", "commands": ["stop x.y.0.1-2: gone: so"], **token}
    ) == (Sent(t=2.0, node="i1", agent="a1", token=(1, 7), commands=(("stop", "x.y.0.1-2"),)),)
    assert events_of("a1", 2.0, {"event": "adopted", "instance": "i1", **token}) == (
        Adopted(t=2.0, node="a1", token=(1, 7), instance="i1"),
    )
    assert events_of("a1", 2.0, {"event": "agent_ready", "uid": "u", "agent": "a1"}) == (
        Booted(t=2.0, node="a1", uid="u"),
    )
