"""Checks: how answers add up (without a clock), and on real tasks."""

import asyncio
from datetime import timedelta

import pytest

from harpoon.agent.health import Standing, check_name
from harpoon.model.check import Check, ExecProbe, HttpProbe, OnFail, TcpProbe
from harpoon.model.lifecycle import Backoff, Restart
from harpoon.model.task import TaskState
from tests.agent.programs import WEB, python, sh
from tests.agent.rig import agent

LATE = timedelta(hours=1)
SOON = timedelta(milliseconds=50)
PROBE = HttpProbe(port="http", path="/ready?x=1")


def standing(**check: object) -> Standing:
    probe = {} if check.keys() & {"tcp", "exec_"} else {"http": PROBE}
    return Standing(Check(**probe, **check))  # type: ignore[arg-type]


def ms(milliseconds: int) -> timedelta:
    return timedelta(milliseconds=milliseconds)


def test_a_check_passes_after_so_many_passes_in_a_row():
    check = standing(ready_after=3)
    for failure in (None, None, "answered 500", None, None):
        check.hear(failure, SOON)
        assert not check.is_passing
    assert check.hear(None, SOON)
    assert check.is_passing


def test_a_passing_check_fails_after_so_many_failures_in_a_row():
    check = standing(fail_after=3)
    check.hear(None, SOON)
    for failure in ("answered 500", "answered 500", None, "answered 500", "answered 500"):
        assert not check.hear(failure, SOON)
        assert check.is_passing
    assert check.hear("answered 503", SOON)
    assert not check.is_passing
    assert check.result.detail == "answered 503"
    assert not check.wants_restart


def test_failures_before_the_first_pass_do_not_count_while_it_may_be_starting():
    check = standing(fail_after=1, on_fail=OnFail.RESTART, start_within=timedelta(seconds=10))
    for age in (0, 5, 9):
        check.hear("connection refused", timedelta(seconds=age))
        assert not check.wants_restart
    check.hear("connection refused", timedelta(seconds=10))
    assert check.wants_restart
    assert check.reason() == "check http http /ready?x=1 failed 1 times: connection refused"


def test_a_check_that_keeps_passing_has_nothing_to_tell():
    check = standing()
    assert check.hear(None, SOON)
    assert not any(check.hear(None, SOON + ms(n * 2000)) for n in range(100))


def test_a_check_that_keeps_failing_tells_the_first_evidence_and_then_only_other():
    check = standing()
    told = [check.hear("connection refused", ms(n * 100)) for n in range(100)]
    assert sum(told) == 1
    assert check.result.detail == "connection refused"
    assert check.hear("answered 500", timedelta(seconds=20))
    assert not any(check.hear("answered 500", timedelta(seconds=21 + n)) for n in range(20))


def test_changing_evidence_is_told_no_more_than_each_second():
    check = standing()
    assert sum(check.hear(f"answered {500 + n % 2}", ms(n * 100)) for n in range(200)) <= 20


def test_a_check_is_asked_often_until_it_first_passes_and_then_as_told():
    check = standing(every=timedelta(seconds=2))
    pauses = [check.pause(ms(10), asked) for asked in range(1, 20)]
    assert pauses[0] < ms(20)
    assert pauses == sorted(pauses)
    assert pauses[-1] == ms(100)
    assert check.pause(LATE, 5) == timedelta(seconds=2)
    check.hear(None, SOON)
    assert check.pause(SOON, 20) == timedelta(seconds=2)
    assert standing(every=ms(10)).pause(ms(10), 20) == ms(10)


def test_a_program_is_run_less_often_than_a_port_is_asked_until_it_first_passes():
    check = standing(every=timedelta(seconds=2), exec_=ExecProbe(command=("true",)))
    pauses = [check.pause(ms(10), asked) for asked in range(1, 20)]
    assert ms(100) < pauses[0] < ms(200)
    assert pauses == sorted(pauses)
    assert pauses[-1] == timedelta(seconds=1)
    port = standing(every=timedelta(seconds=2), tcp=TcpProbe(port="http"))
    assert port.pause(ms(10), 1) == standing(every=timedelta(seconds=2)).pause(ms(10), 1)


def test_evidence_that_never_stays_the_same_is_told_ever_more_seldom():
    check = standing(exec_=ExecProbe(command=("true",)))
    told = [n for n in range(7200) if check.hear(f"exited 1: it is {n}", timedelta(seconds=n / 2))]
    # In an hour: soon, then each minute. A change of the state is told at once all the same, and what follows it soon.
    assert told[:4] == [2, 6, 14, 30]
    assert len(told) <= 66
    assert check.hear(None, timedelta(hours=1))
    later = [check.hear(f"exited 1: it is {n}", timedelta(hours=1, seconds=n)) for n in range(5)]
    assert later == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("probe", "name"),
    [
        ({"http": PROBE}, "http http /ready?x=1"),
        ({"tcp": TcpProbe(port="http")}, "tcp http"),
        ({"exec_": ExecProbe(command=("pg_isready", "-p", "$PORT_DB", "a b"))}, "exec pg_isready -p '$PORT_DB' 'a b'"),
        ({"exec_": ExecProbe(command=("sh", "-c", "a\n\x1bb"))}, "exec sh -c 'a  b'"),
        ({"exec_": ExecProbe(command=("x" * 300,))}, f"exec {'x' * 195}"),
    ],
)
def test_a_check_is_called_by_what_it_asks(probe, name):
    assert check_name(Check(**probe)) == name


def web(tmp_path, **check: object) -> dict:
    return {
        "ports": {"http": 0},
        "checks": (Check(http=PROBE, every=ms(30), **check),),  # type: ignore[arg-type]
        "restart": Restart(backoff=Backoff(initial=ms(100))),
    }


async def test_a_task_is_ready_once_its_check_passes_and_told_of_no_more(tmp_path):
    async with agent(tmp_path / "state") as rig:
        task = await rig.start(*python(WEB, str(tmp_path / "status")), **web(tmp_path))
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
        assert not next(t.ready for t in rig.told if t.id == task and t.state is TaskState.RUNNING)
        (result,) = rig.tasks[task].checks
        assert (result.name, result.is_passing, result.detail) == ("http http /ready?x=1", True, "")
        events = rig.events
        for _ in range(3):
            # Each of these passes takes longer than several probes.
            await rig.running(await rig.start("sleep", "1000"))
            await asyncio.sleep(0.1)
        assert [t for t in rig.told if t.id == task][-1].checks == (result,)
        assert rig.events <= events + 6


async def test_a_task_whose_check_fails_is_unready_until_it_passes_again(tmp_path):
    status = tmp_path / "status"
    async with agent(tmp_path / "state") as rig:
        task = await rig.start(*python(WEB, str(status)), **web(tmp_path, fail_after=2))
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
        status.write_text("503")
        await rig.until(lambda: not rig.tasks[task].ready)
        assert rig.tasks[task].state is TaskState.RUNNING
        assert rig.tasks[task].checks[0].detail == "answered 503"
        status.write_text("302")
        await rig.until(lambda: rig.tasks[task].ready)
        assert rig.tasks[task].restarts == 0


async def test_a_task_whose_check_fails_is_started_again_if_told_so(tmp_path):
    status = tmp_path / "status"
    async with agent(tmp_path / "state") as rig:
        template = web(tmp_path, fail_after=2, on_fail=OnFail.RESTART)
        task = await rig.start(*python(WEB, str(status)), **template)
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
        pid = rig.tasks[task].pid
        status.write_text("500")
        await rig.until(lambda: rig.tasks[task].restarts == 1)
        status.unlink()
        await rig.until(lambda: rig.tasks[task].ready)
        assert rig.tasks[task].pid != pid
        reasons = [told.reason for told in rig.told if told.state is TaskState.STARTING and told.restarts == 1]
        assert "check http http /ready?x=1 failed 2 times: answered 500; was killed by TERM" in reasons[0]


async def test_a_task_that_never_listens_is_running_not_ready_and_says_why(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.start("sleep", "1000", **web(tmp_path))
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].checks[:1] != () and rig.tasks[task].checks[0].detail == "connection refused")  # fmt: skip
        assert rig.tasks[task].state is TaskState.RUNNING
        assert not rig.tasks[task].ready


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("", "closed the connection without an answer"),
        ("nonsense", "no HTTP answer: Bad status line"),
        ("HTTP/1.1 200 OK\\r\\nX: {}\\r\\n\\r\\n", "no HTTP answer: Got more than"),
    ],
)
async def test_a_task_that_answers_nonsense_is_not_ready(tmp_path, answer, detail):
    program = f"""
import os, socket
server = socket.create_server(("127.0.0.1", int(os.environ["PORT_HTTP"])))
while True:
    peer, _ = server.accept()
    peer.recv(1000)
    peer.sendall({answer!r}.replace(chr(92) + "r", chr(13)).replace(chr(92) + "n", chr(10)).format("x" * 100000).encode())
    peer.close()
"""
    async with agent(tmp_path) as rig:
        task = await rig.start(*python(program), **web(tmp_path))
        await rig.until(lambda: task in rig.tasks and any(detail in c.detail for c in rig.tasks[task].checks))
        assert not rig.tasks[task].ready


async def test_a_task_that_answers_too_late_is_not_ready(tmp_path):
    program = "import os, socket, time; s = socket.create_server(('127.0.0.1', int(os.environ['PORT_HTTP']))); time.sleep(1000)"
    async with agent(tmp_path) as rig:
        task = await rig.start(*python(program), **web(tmp_path, timeout=ms(50)))
        await rig.until(
            lambda: task in rig.tasks and any("no answer within 50ms" in c.detail for c in rig.tasks[task].checks)
        )


async def test_a_check_does_not_follow_to_another_host(tmp_path):
    async with agent(tmp_path / "state") as rig:
        check = Check(http=HttpProbe(port="http", path="//127.0.0.2:1/x"), every=ms(30))
        task = await rig.start(*python(WEB, "none"), ports={"http": 0}, checks=(check,))
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)


async def test_a_stopping_task_is_asked_no_more(tmp_path):
    async with agent(tmp_path / "state") as rig:
        template = web(tmp_path)
        task = await rig.start(*sh("trap '' TERM; sleep 1000"), **template)
        await rig.running(task)
        await rig.stop(task)
        await rig.state(task, TaskState.STOPPING)
        assert not rig.tasks[task].ready
