"""What a container finds of its host: secrets, volumes, scratch space; and where nothing of a secret is to be seen."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from harpoon.agent import supplies
from harpoon.model.check import Check, ExecProbe
from harpoon.model.command import StartTask
from harpoon.model.given import SecretFile, SecretVariable
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.sensitive import Sensitive
from harpoon.model.task import TaskState
from harpoon.model.volumes import HostPath, Volume
from tests.docker.rig import agent, container, of

NEVER = Restart(policy=RestartPolicy.NEVER)
CANARY = "correct horse 'battery' $staple"
GIVEN = {"db/password": Sensitive(CANARY.encode()), "tls/key": Sensitive(b"a key\n")}
VARIABLE = {"PW": SecretVariable(secret="db/password")}
FILES = (SecretFile(secret="tls/key", at="key.pem"), SecretFile(secret="db/password", at="pw", mode=0o444))


@pytest.fixture
def kept():
    """What is not below pytest's own directories, which are closed to others."""
    directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)


async def start(rig, script, **fields):
    """Start a container with what it refers to of secrets."""
    order = rig.order(container("sh", "-c", script, **fields))
    values = {key: GIVEN[key] for key in order.template.secret_values()}
    result = await rig.obey(
        StartTask(
            task=order.task,
            generation=order.generation,
            template=order.template,
            reason=order.reason,
            secrets=values,
        )
    )
    assert result.is_ok, result.reason
    return order.task


def everything(directory):
    return b"\n".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


async def test_a_secret_is_in_its_environment_and_in_its_files_and_in_nothing_that_is_told(
    engine, tmp_path, kept, capsys
):
    async with agent(tmp_path, engine, secrets_dir=kept) as rig:
        script = 'test "$$PW" = "$$(cat $$SECRETS_DIR/pw)" && cat $SECRETS_DIR/key.pem; touch $$SECRETS_DIR/x; echo up; sleep 1000'  # fmt: skip
        probe = Check(exec_=ExecProbe(command=("sh", "-c", 'test "$${#PW}" -gt 20 && test -s "$SECRETS_DIR/pw"')))
        task = await start(rig, script, env=VARIABLE, secrets=FILES, checks=(probe,))
        assert await rig.log_until(task, "up\n") == "a key\nup\n"
        assert "Read-only file system" in await rig.log(task, "stderr")
        await rig.until(lambda: rig.tasks[task].ready)
        (one,) = of(engine, task)
        assert f"PW={CANARY}" in one["Config"]["Env"]
        # Whoever may use the engine sees its environment, and nothing else has it.
        del one["Config"]["Env"]
        told = (json.dumps(one), repr(rig.told), capsys.readouterr().out, everything(tmp_path).decode(errors="replace"))
        for text in told:
            assert "staple" not in text
        assert list(kept.glob("*/*/files/pw"))
        await rig.stop(task)
        await rig.over(task)
        assert list(kept.iterdir()) == []


@pytest.mark.parametrize(
    ("user", "readable"), [(None, ["key.pem", "pw"]), ("65534", ["key.pem", "pw"]), ("nobody", ["pw"])]
)
async def test_a_number_has_its_files_and_a_name_those_that_all_may_read(engine, tmp_path, kept, user, readable):
    async with agent(tmp_path, engine, secrets_dir=kept) as rig:
        script = "cd $$SECRETS_DIR; for f in *; do cat $$f >/dev/null 2>&1 && echo $$f; done; echo up; sleep 1000"
        task = await start(rig, script, secrets=FILES, user=user)
        assert (await rig.log_until(task, "up\n")).split() == [*readable, "up"]
        # On the host nobody comes to them, whatever their mode.
        (place,) = kept.glob(f"*/{task}")
        assert place.stat().st_mode & 0o777 == 0o700
        assert place.stat().st_uid == os.geteuid()


async def test_it_has_its_secrets_again_when_it_is_started_again(engine, tmp_path, kept):
    async with agent(tmp_path, engine, secrets_dir=kept) as rig:
        task = await start(
            rig, 'echo "$${#PW}"; cat $SECRETS_DIR/key.pem; exit 1', env=VARIABLE, secrets=FILES, restart=Restart(attempts=1)
        )  # fmt: skip
        assert (await rig.over(task)).restarts == 1
        assert await rig.log(task) == f"{len(CANARY)}\na key\n" * 2


async def test_a_start_that_fails_tells_nothing_of_a_secret(engine, tmp_path, kept, capsys):
    async with agent(tmp_path, engine, secrets_dir=kept) as rig:
        order = rig.order(container("no-such-program", env=VARIABLE, restart=NEVER))
        command = StartTask(
            task=order.task, generation="g1", template=order.template, reason="scheduled", secrets=GIVEN
        )
        assert (await rig.obey(command)).is_ok
        over = await rig.over(order.task)
        assert over.reason.startswith("could not be started: no-such-program")
        assert "staple" not in repr(rig.told) + capsys.readouterr().out


async def test_a_path_of_the_host_is_there_to_read_or_to_write_and_no_other(engine, tmp_path):
    allowed = tmp_path / "allowed"
    for name in ("in", "out"):
        (allowed / name).mkdir(parents=True)
    (allowed / "in" / "f").write_text("of the host\n")
    (allowed / "away").symlink_to("/etc")
    paths = (HostPath(path=str(allowed)),)
    async with agent(tmp_path / "agent", engine, host_paths=paths) as rig:
        volumes = (
            Volume(host=str(allowed / "in"), at="/in", read_only=True),
            Volume(host=str(allowed / "out"), at="/data/out"),
            Volume(host=str(allowed / "in" / "f"), at="/one", read_only=True),
        )
        script = "cat /in/f /one; touch /in/g || echo refused; echo mine >/data/out/f; echo up; sleep 1000"
        task = await start(rig, script, volumes=volumes)
        assert await rig.log_until(task, "up\n") == "of the host\nof the host\nrefused\nup\n"
        assert (allowed / "out" / "f").read_text() == "mine\n"
        told = [(one.at, one.is_enforced) for one in rig.tasks[task].volumes]
        assert told == [("/in", True), ("/data/out", True), ("/one", True)]
        for host, why in (
            (allowed / "away", "leads to /etc, which is not allowed here"),
            (tmp_path, "is not allowed here"),
            (allowed / "none", "no such file or directory"),
        ):
            over = await rig.over(await start(rig, "true", volumes=(Volume(host=str(host), at="/x"),), restart=NEVER))
            assert over.state is TaskState.FAILED
            assert why in over.reason


async def test_no_container_is_given_the_socket_of_an_engine_whatever_is_allowed(engine, tmp_path):
    paths = (HostPath(path="/run"),)
    async with agent(tmp_path, engine, host_paths=paths) as rig:
        for host in (str(engine.socket), "/run"):
            volumes = (Volume(host=host, at="/x", read_only=True),)
            over = await rig.over(await start(rig, "true", volumes=volumes, restart=NEVER))
            assert "whoever has that has the host" in over.reason


@pytest.mark.parametrize("user", [None, "65534", "nobody"])
async def test_scratch_space_is_its_own_whoever_it_runs_as_and_goes_with_it(engine, tmp_path, user):
    async with agent(tmp_path, engine) as rig:
        volumes = (Volume(scratch=1 << 20, at="/cache"),)
        script = "ls /cache; echo x >>/cache/f; test $$(cat /cache/f | wc -l) = 2 || exit 1"
        restart = Restart(policy=RestartPolicy.ON_FAILURE)
        task = await start(rig, script, volumes=volumes, user=user, read_only_root=True, restart=restart)
        # What it left is there when it is started again.
        over = await rig.over(task)
        assert (await rig.log(task), over.restarts, over.state) == ("f\n", 1, TaskState.FINISHED), over
        await rig.forget(task)
        await rig.until_true(lambda: not list((tmp_path / "trash").iterdir()))


async def test_a_container_that_puts_too_much_into_scratch_space_fails_and_says_how_much(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(supplies, "MEASURE_S", 0.05)
    async with agent(tmp_path, engine) as rig:
        volumes = (Volume(scratch=1 << 20, at="/cache"),)
        task = await start(rig, "head -c 2000000 /dev/zero >/cache/a; sleep 1000", volumes=volumes)
        over = await rig.over(task)
        assert over.state is TaskState.FAILED
        # It may be measured before all is written.
        assert re.match(r"scratch /cache holds 1\d\d\dKi, more than 1Mi; ", over.reason)
        assert over.restarts == 0
