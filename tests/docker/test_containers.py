"""What a container is given, what it is not, and how it is asked: judged by what the engine tells, and from within."""

import asyncio
import json
import socket
from datetime import timedelta

import aiohttp

from harpoon.model.check import Check, ExecProbe, HttpProbe, TcpProbe
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.task import TaskState
from harpoon.model.template import Resources
from tests.docker.engine import IMAGE
from tests.docker.rig import agent, of, start

NEVER = Restart(policy=RestartPolicy.NEVER)
WEB = ("sh", "-c", "mkdir /tmp/w; echo hello >/tmp/w/index.html; exec httpd -f -p $$PORT_HTTP -h /tmp/w")


async def test_it_has_no_capability_no_new_privileges_and_bounds(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        task = await start(rig, "sh", "-c", "grep -E 'CapEff|NoNewPrivs' /proc/self/status; echo up; sleep 1000")
        assert "CapEff:\t0000000000000000" in await rig.log_until(task, "up\n")
        assert "NoNewPrivs:\t1" in await rig.log(task)
        (one,) = of(engine, task)
        host = one["HostConfig"]
        assert (host["Privileged"], host["CapDrop"], host["CapAdd"] or []) == (False, ["ALL"], [])
        assert (host["PidsLimit"], host["PidMode"], host["IpcMode"], host["Binds"]) == (4096, "", "private", None)
        assert host["RestartPolicy"]["Name"] == "no"
        assert host["LogConfig"]["Config"]["max-size"] == "16m"
        labels = one["Config"]["Labels"]
        assert labels["harpoon.task"] == task
        assert labels["harpoon.agent"] == rig.uid
        assert labels["harpoon.cluster"] == "cluster-1"


async def test_its_limits_are_the_engines(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        resources = Resources(memory=64 << 20, cpu=250, pids=50)
        task = (await rig.running(await start(rig, "sleep", "1000", resources=resources))).id
        (one,) = of(engine, task)
        host = one["HostConfig"]
        assert (host["Memory"], host["MemorySwap"], host["CpuShares"], host["PidsLimit"]) == (64 << 20, 64 << 20, 256, 50)  # fmt: skip


async def test_it_may_have_what_its_operator_allows_and_nothing_else(engine, tmp_path):
    rules = {"capabilities": frozenset({"CHOWN"})}
    async with agent(tmp_path, engine, rules=rules) as rig:
        task = (await rig.running(await start(rig, "sleep", "1000", capabilities=("CHOWN",)))).id
        assert of(engine, task)[0]["HostConfig"]["CapAdd"] == ["CHOWN"]
        over = await rig.over(await start(rig, "sleep", "1", capabilities=("CHOWN", "SYS_ADMIN")))
        assert over.reason == "capabilities: this agent allows no SYS_ADMIN; its operator may, with --allow-capability"
        over = await rig.over(await start(rig, "sleep", "1", network="host"))
        assert over.reason == "network: this agent allows no host network; its operator may, with --allow-host-network"


async def test_the_host_network_is_had_where_it_is_allowed(engine, tmp_path):
    async with agent(tmp_path, engine, rules={"has_host_network": True}) as rig:
        task = await start(rig, "sh", "-c", "ip addr; env; echo up; sleep 1000", network="host", ports={"http": 0})
        printed = await rig.log_until(task, "up\n")
        assert "HARPOON_ADDRESS=127.0.0.1" in printed
        assert of(engine, task)[0]["HostConfig"]["PortBindings"] in (None, {})


async def test_its_user_its_root_and_its_directory_are_as_asked(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        script = "id -u; id -g; touch /x || echo refused; pwd; echo up; sleep 1000"
        task = await start(rig, "sh", "-c", script, user="65534:65534", read_only_root=True, working_directory="/tmp")
        assert await rig.log_until(task, "up\n") == "65534\n65534\nrefused\n/tmp\nup\n"


async def test_its_port_is_the_same_inside_and_outside_and_asked_by_the_agent(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        checks = (Check(http=HttpProbe(port="http")), Check(tcp=TcpProbe(port="http")))
        task = await start(rig, *WEB, ports={"http": 0}, checks=checks)
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
        port = rig.tasks[task].ports["http"]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
            assert await response.text() == "hello\n"
        with socket.socket() as probe:
            # Published at the agent's own address, and at no other of its host.
            probe.settimeout(2)
            assert probe.connect_ex(("127.0.0.2", port)) != 0
        await rig.stop(task)
        await rig.over(task)
        again = await start(rig, *WEB, ports={"http": port}, checks=checks)
        await rig.until(lambda: again in rig.tasks and rig.tasks[again].ready)


async def test_a_port_of_anothers_is_a_reason(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        task = (await rig.running(await start(rig, "sleep", "1000", ports={"http": 0}))).id
        port = rig.tasks[task].ports["http"]
        other = engine.create("other", HostConfig={"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.3", "HostPort": str(port)}]}}, ExposedPorts={"80/tcp": {}})  # fmt: skip
        engine.start(other)
        assert (await rig.running(task)).ready


async def test_a_program_that_is_not_there_is_a_reason_in_few_words(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        over = await rig.over(await start(rig, "no-such-program", restart=NEVER))
        assert over.state is TaskState.FAILED
        assert over.reason.startswith("could not be started: no-such-program: no such file or directory")
        assert of(engine, over.id) == []


async def test_an_images_own_command_runs_where_none_is_given(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        task = (await rig.running(await start(rig))).id
        (one,) = of(engine, task)
        assert one["Config"]["Cmd"] == ["sleep", "1000"]
        assert not one["HostConfig"]["Init"]
        assert one["Config"]["Image"] == IMAGE


async def test_a_check_in_a_container_that_hangs_is_killed_and_told(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        hangs = Check(
            exec_=ExecProbe(command=("sh", "-c", "echo looking; sleep 1000")),
            every=timedelta(milliseconds=100),
            timeout=timedelta(seconds=1),
            start_within=timedelta(0),
            fail_after=1,
        )
        task = await start(rig, "sleep", "2000", checks=(hangs,))
        await rig.until(lambda: task in rig.tasks and "did not end" in "".join(c.detail for c in rig.tasks[task].checks))  # fmt: skip
        (one,) = of(engine, task)

        def sleepers():
            top = engine.ask("GET", f"/containers/{one['Id']}/top?ps_args=-o%20pid,args")
            return [row for row in top["Processes"] if "echo looking" in row[-1]]

        async with asyncio.timeout(20):
            while len(sleepers()) > 2:
                await asyncio.sleep(0.1)


async def test_a_restart_takes_the_same_port_again(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        task = await start(rig, "sh", "-c", "sleep 0.5; exit 1", ports={"http": 0}, restart=Restart(attempts=2))
        over = await rig.over(task)
        assert over.restarts == 2
        assert "exited 1" in over.reason, json.dumps([told.reason for told in rig.told])
