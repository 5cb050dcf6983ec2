"""Secrets at the agent: in memory, for as long as their task is not over, and nowhere else."""

import json
import os
import stat
from pathlib import Path

import pytest

from harpoon.agent.vault import Vault, _kind_of
from harpoon.kit.errors import Invalid
from harpoon.model.check import Check, ExecProbe
from harpoon.model.command import StartTask
from harpoon.model.given import SecretFile, SecretVariable
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.name import TaskId
from harpoon.model.sensitive import Sensitive
from harpoon.model.task import TaskState
from harpoon.model.template import TaskTemplate
from tests.agent.programs import sh
from tests.agent.rig import Rig, agent, clean, connected, daemon

CANARY = "correct horse 'battery' $staple\n\"ü\""
TASK = TaskId("default.web.0.1-1")
GIVEN = {"db/password": Sensitive(CANARY.encode()), "tls/key": Sensitive(b"\x00\xff")}
VARIABLE = {"PW": SecretVariable(secret="db/password")}
FILES = (SecretFile(secret="tls/key", at="key.pem"), SecretFile(secret="db/password", at="pw", mode=0o440))


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path):
    yield
    clean(tmp_path / "agent")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "memory").mkdir()
    return tmp_path / "memory"


def template(**fields) -> TaskTemplate:
    return TaskTemplate(command=fields.pop("command", ("serve",)), **{"env": VARIABLE, "secrets": FILES, **fields})


async def start(rig: Rig, *command: str, **fields) -> TaskId:
    order = rig.order(template(command=command, **fields))
    values = {key: GIVEN[key] for key in order.template.secret_values()}
    result = await rig.obey(StartTask(**{name: getattr(order, name) for name in ("task", "generation", "template", "reason")}, secrets=values))  # fmt: skip
    assert result.is_ok, result.reason
    return order.task


def everything(directory: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def test_what_is_kept_is_for_this_user_alone_and_whole(kept: Path) -> None:
    vault = Vault("uid-1", kept)
    vault.keep(TASK, template(), GIVEN)
    place = kept / "harpoon-uid-1" / TASK
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place.parent, place, *place.rglob("*"))}
    assert modes == {
        "harpoon-uid-1": 0o711,
        TASK: 0o700,
        "files": 0o700,
        "values": 0o600,
        "key.pem": 0o400,
        "pw": 0o440,
    }
    assert vault.variables(TASK, template()) == {"PW": CANARY}
    assert (vault.files(TASK) / "key.pem").read_bytes() == b"\x00\xff"
    vault.drop(TASK)
    assert list(kept.iterdir()) == []
    with pytest.raises(Invalid, match="not in memory any more"):
        vault.variables(TASK, template())


def test_a_task_without_secrets_leaves_no_trace(kept: Path) -> None:
    vault = Vault("uid-1", kept)
    vault.keep(TASK, TaskTemplate(command=("serve",)), {})
    assert vault.variables(TASK, TaskTemplate(command=("serve",))) == {}
    assert list(kept.iterdir()) == []


def test_what_was_not_given_whole_is_refused(kept: Path) -> None:
    with pytest.raises(Invalid, match="secret tls/key was ordered without its value"):
        Vault("uid-1", kept).keep(TASK, template(), {"db/password": GIVEN["db/password"]})


def test_a_place_that_others_made_is_not_used(kept: Path) -> None:
    (kept / "harpoon-uid-1").mkdir()
    (kept / "harpoon-uid-1").chmod(0o777)
    with pytest.raises(OSError, match="is not this agent's alone"):
        Vault("uid-1", kept).keep(TASK, template(), GIVEN)
    Vault("uid-1", kept).sweep(())
    (kept / "elsewhere").mkdir()
    (kept / "harpoon-uid-2").symlink_to(kept / "elsewhere")
    with pytest.raises(OSError, match="is not this agent's alone"):
        Vault("uid-2", kept).keep(TASK, template(), GIVEN)
    assert list((kept / "elsewhere").iterdir()) == []


def test_without_memory_to_keep_them_in_secrets_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("harpoon.agent.vault.CANDIDATES", (tmp_path / "nothing", Path("/proc")))
    vault = Vault("uid-1")
    assert (vault.where, vault.facts) == ("", {})
    vault.drop(TASK)
    vault.sweep(())
    with pytest.raises(Invalid, match="start it with --secrets-dir DIR"):
        vault.keep(TASK, template(), GIVEN)


def test_it_is_told_what_they_are_kept_in(kept: Path) -> None:
    assert _kind_of(Path("/proc")) == "proc"
    told = Vault("uid-1", kept).facts["secrets"]
    assert told == ("memory" if _kind_of(kept) == "tmpfs" else "disk")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_may_be_for_another_user(kept: Path) -> None:
    Vault("uid-1", kept).keep(TASK, template(), GIVEN, owner=(12345, 12346))
    place = kept / "harpoon-uid-1" / TASK
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in (place, *place.rglob("*"))}
    # What its variables are made of is not the user's to replace.
    assert owners.pop("values") == owners.pop(TASK) == (0, os.getegid())
    assert set(owners.values()) == {(12345, 12346)}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place, place / "files")] == [0o711, 0o700]


async def test_a_task_finds_its_secrets_and_no_record_and_no_answer_has_them(tmp_path: Path, kept: Path) -> None:
    async with agent(tmp_path / "agent", secrets_dir=kept) as rig:
        task = await start(
            rig, *sh('printf %s "$PW" > "$HOME/pw"; cp "$SECRETS_DIR/key.pem" "$HOME/key"; echo done; sleep 1000')
        )
        await rig.log_until(task, "done\n")
        scratch = tmp_path / "agent" / "tasks" / task / "scratch"
        assert (scratch / "pw").read_text() == CANARY
        assert (scratch / "key").read_bytes() == b"\x00\xff"
        record = json.loads((scratch.parent / "task.json").read_bytes())
        assert record["template"]["env"] == {"PW": {"secret": "db/password"}}
        (scratch / "pw").unlink()
        for fragment in (CANARY, json.dumps(CANARY)[1:-1]):
            assert fragment.encode() not in everything(tmp_path / "agent")
            assert fragment not in repr(rig.told)
        await rig.stop(task)
        await rig.over(task)
        assert list(kept.iterdir()) == []


async def test_a_check_has_the_secrets_of_its_task(tmp_path: Path, kept: Path) -> None:
    async with agent(tmp_path / "agent", secrets_dir=kept) as rig:
        probe = Check(exec_=ExecProbe(command=sh('test "${#PW}" -gt 20 && test -s "$SECRETS_DIR/pw"')))
        task = await start(rig, "sleep", "1000", checks=(probe,))
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)


async def test_what_is_started_again_has_what_it_had_also_by_a_later_daemon(tmp_path: Path, kept: Path) -> None:
    tells = sh(
        'printf "%s|" "$PW" >> "$HOME/log"; cat "$SECRETS_DIR/pw" >> "$HOME/log"; echo up; while :; do sleep 0.01; done'
    )
    told = {"secrets_dir": str(kept)}
    async with daemon(tmp_path / "agent", **told) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await start(rig, *tells)
        await rig.log_until(task, "up\n")
        await first.kill()
    async with daemon(tmp_path / "agent", **told) as second, connected(second.port) as rig:
        await rig.adopt()
        pid = (await rig.running(task)).pid
        os.kill(pid or 0, 9)
        await rig.running(task, restarts=1)
        await rig.log_until(task, "up\nup\n")
        log = tmp_path / "agent" / "tasks" / task / "scratch" / "log"
        assert log.read_text() == f"{CANARY}|{CANARY}" * 2
        await rig.stop(task)
        await rig.over(task)


async def test_a_task_whose_secrets_are_gone_fails_and_says_so(tmp_path: Path, kept: Path) -> None:
    async with agent(tmp_path / "agent", secrets_dir=kept) as rig:
        task = await start(rig, *sh("sleep 0.2; exit 1"), restart=Restart(policy=RestartPolicy.ALWAYS))
        await rig.running(task)
        for path in kept.rglob("values"):
            path.unlink()
        told = await rig.over(task)
        assert (told.state, told.reason) == (
            TaskState.FAILED,
            "its secrets are not in memory any more, as after a restart of the machine",
        )


async def test_what_an_earlier_daemon_left_of_tasks_that_are_over_is_swept(tmp_path: Path, kept: Path) -> None:
    async with agent(tmp_path / "agent", secrets_dir=kept) as rig:
        task = await start(rig, "sleep", "1000")
        await rig.running(task)
    [root] = kept.iterdir()
    (root / "default.old.0.1-1" / "files").mkdir(parents=True)
    async with agent(tmp_path / "agent", secrets_dir=kept):
        assert [path.name for path in root.iterdir()] == [task]


async def test_a_start_without_its_values_is_refused_and_nothing_is_kept(tmp_path: Path, kept: Path) -> None:
    async with agent(tmp_path / "agent", secrets_dir=kept) as rig:
        result = await rig.obey(rig.order(template()))
        assert (result.is_ok, result.reason) == (False, "secret db/password was ordered without its value")
        assert list((tmp_path / "agent" / "tasks").iterdir()) == []
