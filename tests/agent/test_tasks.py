"""Real tasks on a real agent: what they are given, how they end, and that none of them ends the agent."""

import json
import os
import signal
import socket
import sys
from datetime import timedelta

import pytest

from harpoon.model.command import StartTask, StopTask
from harpoon.model.given import Endpoints
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy, Stop
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.template import TaskTemplate
from tests.agent.programs import SHOW, python, sh
from tests.agent.rig import agent, is_alive
from tests.ports import task_ports

NEVER = Restart(policy=RestartPolicy.NEVER)


async def test_a_task_runs_is_ready_and_is_told(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start("sleep", "1000"))
        assert task.ready
        assert task.agent == "agent-1"
        assert task.cluster == "cluster-1"
        assert task.address == "127.0.0.1"
        assert task.pid is not None
        assert is_alive(task.pid)


async def test_a_task_gets_its_arguments_and_environment_untouched_and_nothing_else(tmp_path):
    odd = ("-x", "--", "a b", "", "line\nline", "'\"\\`$$HOME", "ünï", "*")
    env = {"MODE": "fast", "IFS": "x", "OPTIND": "none", "PWD": "mine", "LD_FAKE": "1", "stat": "s", "EMPTY": ""}
    async with agent(tmp_path, name="agent-7") as rig:
        command = (*python(SHOW)[:5], *odd, "$MODE/$PORT_WEB")
        task = await rig.start(*command, env=env, ports={"web": 0})
        shown = json.loads(await rig.log_until(task, "}\n"))
        port = str(rig.tasks[task].ports["web"])
        assert shown["argv"] == [*(part.replace("$$", "$") for part in odd), f"fast/{port}"]
        scratch = str(tmp_path / "tasks" / task / "scratch")
        assert shown["cwd"] == scratch
        # Python itself sets LC_CTYPE where no locale is told.
        shown["env"].pop("LC_CTYPE", None)
        assert shown["env"] == env | {
            "PATH": os.environ["PATH"],
            "HOME": scratch,
            "PORT_WEB": port,
            "HARPOON_TASK": task,
            "HARPOON_NAMESPACE": "default",
            "HARPOON_JOB": "job",
            "HARPOON_SLOT": "1",
            "HARPOON_AGENT": "agent-7",
            "HARPOON_ADDRESS": "127.0.0.1",
        }
        assert [fd for fd in shown["open"] if fd > 3] == []


async def test_a_task_is_in_a_session_and_group_apart_from_the_agents(tmp_path):
    async with agent(tmp_path) as rig:
        first, second = [await rig.running(await rig.start("sleep", "1000")) for _ in range(2)]
        assert first.pid and second.pid
        groups = {os.getpgid(first.pid), os.getpgid(second.pid), os.getpgid(0)}
        sessions = {os.getsid(first.pid), os.getsid(second.pid), os.getsid(0)}
        assert len(groups) == len(sessions) == 3


async def test_a_task_finds_all_signals_as_they_are_by_default(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.start(*sh("grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; sleep 1000"))
        lines = (await rig.log_until(task, "SigCgt")).split("\n")
        masks = {line.split(":")[0]: int(line.split(":")[1], 16) & 0x7FFFFFFF for line in lines if line}
        assert masks["SigBlk"] == 0
        assert masks["SigIgn"] == 0


async def test_starting_a_known_task_changes_nothing(tmp_path):
    async with agent(tmp_path) as rig:
        order = rig.order(TaskTemplate(command=("sleep", "1000")))
        await rig.obey(order)
        task = await rig.running(order.task)
        assert (await rig.obey(order)).is_ok
        assert rig.tasks[order.task] == task


@pytest.mark.parametrize(
    "task", ["x", "../../etc.a.0.1-1", "a/b.c.0.1-1", "a.b.0.1-1/..", "", "a.b.0.1-1\n", "a..0.1-1"]
)
async def test_a_task_whose_id_is_none_is_refused(tmp_path, task):
    async with agent(tmp_path) as rig:
        template = TaskTemplate(command=("sleep", "1"))
        result = await rig.obey(StartTask(task=TaskId(task), generation="g", template=template, reason="r"))
        assert not result.is_ok
        assert not rig.tasks
        assert not list((tmp_path / "tasks").iterdir())


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"command": ("no-such-program",)}, "command 'no-such-program' is not found in PATH"),
        ({"command": ("./none",)}, "command './none': there is no such file"),
        ({"command": ("/etc/passwd",)}, "command '/etc/passwd': /etc/passwd is not executable"),
        ({"command": ("/tmp",)}, "command '/tmp': there is no such file"),
        ({"command": ("true",), "working_directory": "/no/such"}, "working directory /no/such: no such file"),
        ({"command": ("true",), "working_directory": "/etc/passwd"}, "working directory /etc/passwd: not a directory"),
        ({"command": ("true",), "env": {"V": "a" * 131_072}}, "longer than this host lets a program be given"),
    ],
)
async def test_what_can_never_run_fails_at_once_and_says_why(tmp_path, template, words):
    async with agent(tmp_path) as rig:
        task = await rig.over(await rig.start(*template.pop("command"), **template))
        assert task.state is TaskState.FAILED
        assert words in task.reason
        assert task.restarts == 0


@pytest.mark.parametrize(
    ("command", "policy", "state", "code", "reason"),
    [
        (("true",), RestartPolicy.NEVER, TaskState.FINISHED, 0, "exited 0; its restart policy is never"),
        (("true",), RestartPolicy.ON_FAILURE, TaskState.FINISHED, 0, "exited 0"),
        (sh("exit 7"), RestartPolicy.NEVER, TaskState.FAILED, 7, "exited 7; its restart policy is never"),
        (sh("exit 137"), RestartPolicy.NEVER, TaskState.FAILED, 137, "exited 137; its restart policy is never"),
        (sh("kill -9 $$"), RestartPolicy.NEVER, TaskState.FAILED, -9, "was killed by KILL; its restart policy is never"),
        (sh("kill -INT $$"), RestartPolicy.NEVER, TaskState.FAILED, -2, "was killed by INT; its restart policy is never"),
        (sh("kill -SEGV $$"), RestartPolicy.NEVER, TaskState.FAILED, -11, "was killed by SEGV; its restart policy is never"),
        (sh("kill -9 0"), RestartPolicy.NEVER, TaskState.FAILED, -9, "was killed by KILL, and its whole group with it; its restart policy is never"),
        (sh("kill 0; sleep 9"), RestartPolicy.NEVER, TaskState.FAILED, -15, "was killed by TERM; its restart policy is never"),
        (sh("exec >&- 2>&- <&-; exit 3"), RestartPolicy.NEVER, TaskState.FAILED, 3, "exited 3; its restart policy is never"),
    ],
)  # fmt: skip
async def test_how_a_task_ended_is_known(tmp_path, command, policy, state, code, reason):
    async with agent(tmp_path) as rig:
        task = await rig.over(await rig.start(*command, restart=Restart(policy=policy)))
        assert (task.state, task.exit_code, task.reason) == (state, code, reason)
        assert task.pid is None
        assert not task.ready


async def test_a_task_that_keeps_ending_is_started_again_with_its_ports_and_then_failed(tmp_path):
    backoff = Backoff(initial=timedelta(milliseconds=100), factor=1)
    async with agent(tmp_path) as rig:
        task = await rig.start(
            *sh("echo $PORT_A >>ports; exit 3"), ports={"a": 0}, restart=Restart(attempts=2, backoff=backoff)
        )
        over = await rig.over(task)
        assert over.state is TaskState.FAILED
        assert over.reason == "ended 3 times within 10m, and 2 restarts are allowed; last: exited 3"
        assert over.restarts == 2
        assert over.exit_code == 3
        ports = (tmp_path / "tasks" / task / "scratch" / "ports").read_text().split()
        assert ports == [str(over.ports["a"])] * 3
        reasons = [told.reason for told in rig.told if told.id == task and told.state is TaskState.STARTING]
        assert "exited 3; starts again at once, restart 1 of 2" in reasons


async def test_a_program_that_loses_its_interpreter_is_told_by_the_shells_code(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    async with agent(tmp_path / "state") as rig:
        task = await rig.start(str(script), restart=NEVER)
        assert (await rig.over(task)).exit_code == 127
        assert "not found" in await rig.log(task, "stderr")


async def test_what_an_ended_task_left_in_its_group_is_killed_before_it_starts_again(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.start(*sh("sleep 1001 & echo $! >>children; sleep 1000"))
        first = await rig.running(task)
        children = tmp_path / "tasks" / task / "scratch" / "children"
        await rig.until_true(lambda: children.exists() and children.read_text().strip())
        child = int(children.read_text())
        assert is_alive(child)
        os.kill(first.pid or 0, signal.SIGKILL)
        await rig.running(task, restarts=1)
        assert not is_alive(child)


async def test_ports_are_given_once_and_a_taken_one_fails_the_task_by_name(tmp_path):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        ports = task_ports(2)
        async with agent(tmp_path, ports=ports) as rig:
            first = await rig.running(await rig.start("sleep", "1000", ports={"a": 0}))
            second = await rig.running(await rig.start("sleep", "1000", ports={"b": 0}))
            assert {first.ports["a"], second.ports["b"]} == {ports.low, ports.high}
            third = await rig.over(await rig.start("sleep", "1000", ports={"c": 0}))
            assert third.reason == f"no free port for c: all of {ports.low} to {ports.high} are taken"
            fourth = await rig.over(await rig.start("sleep", "1000", ports={"d": taken}))
            assert fourth.state is TaskState.FAILED
            assert f"port {taken} (d)" in fourth.reason
            assert "another program uses it" in fourth.reason
            fifth = await rig.over(await rig.start("sleep", "1000", ports={"e": first.ports["a"]}))
            assert fifth.reason == f"port {first.ports['a']} (e) is task {first.id}'s on this agent"
            await rig.stop(first.id)
            await rig.over(first.id)
            assert (await rig.running(await rig.start("sleep", "1000", ports={"f": 0}))).ports == {
                "f": first.ports["a"]
            }


async def test_stopping_a_task_that_waits_to_be_started_again_ends_it_at_once(tmp_path):
    backoff = Backoff(initial=timedelta(minutes=1))
    async with agent(tmp_path) as rig:
        task = await rig.start("false", restart=Restart(backoff=backoff))
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].restarts == 2)
        await rig.stop(task, "no longer wanted")
        over = await rig.over(task)
        assert over.state is TaskState.FINISHED
        assert over.reason == "no longer wanted; it was not running"


async def test_commands_are_obeyed_in_order(tmp_path):
    async with agent(tmp_path) as rig:
        order = rig.order(TaskTemplate(command=("sleep", "1000"), stop=Stop(grace=timedelta(seconds=5))))
        results = (await rig.send(order, StopTask(task=order.task, reason="changed my mind"))).results
        assert [result.is_ok for result in results] == [True, True]
        assert (await rig.over(order.task)).state is TaskState.FINISHED


async def test_a_task_may_use_odd_variables_with_a_program_found_in_its_own_path(tmp_path):
    program = tmp_path / "bin" / "own"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport os; print(os.environ['IFS'], os.environ['PATH'], flush=True)")
    program.chmod(0o755)
    async with agent(tmp_path / "state") as rig:
        task = await rig.start("own", env={"PATH": str(program.parent), "IFS": "odd"}, restart=NEVER)
        await rig.over(task)
        assert await rig.log(task) == f"odd {program.parent}\n"


async def test_a_variable_without_its_value_is_refused_by_name_and_nothing_is_begun(tmp_path):
    async with agent(tmp_path) as rig:
        template = TaskTemplate(command=("true",), env={"FINE": "x", "API": Endpoints(endpoints="api/http")})
        refused = await rig.obey(rig.order(template))
        assert refused.reason == "env API: the endpoints of api/http were ordered without their value"
        assert not refused.is_ok
        assert not rig.tasks
        assert not list((tmp_path / "tasks").iterdir())
