"""Who a task runs as: found out on the agent's host, refused where that cannot be."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.agent import users
from harpoon.agent.users import User, resolve
from harpoon.kit.errors import Invalid
from harpoon.model.check import Check, ExecProbe
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.task import TaskState
from harpoon.model.template import Resources
from tests.agent.programs import sh
from tests.agent.rig import agent
from tests.groups import clear_groups

NEVER = Restart(policy=RestartPolicy.NEVER)
NOBODY = pwd.getpwnam("nobody")
#: Nobody's here.
NUMBER = 3_999_999_999
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as others")


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that others can pass to, unlike tests' own."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    yield directory
    clear_groups(directory)
    shutil.rmtree(directory, ignore_errors=True)


@as_root
def test_a_user_is_a_name_a_number_or_a_number_with_a_group():
    alone = User(uid=NOBODY.pw_uid, gid=7, groups=(7,))
    assert resolve("nobody") == resolve(str(NOBODY.pw_uid))
    assert resolve("nobody") == User(uid=NOBODY.pw_uid, gid=NOBODY.pw_gid, groups=(NOBODY.pw_gid,))
    assert resolve(f"{NOBODY.pw_uid}:7") == alone
    assert resolve(f"{NUMBER}:7") == User(uid=NUMBER, gid=7, groups=(7,))


def test_nothing_is_changed_for_the_agents_own_user():
    assert resolve(f"{os.geteuid()}:{os.getegid()}") is None


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("no-such-user", "user 'no-such-user': this host has no user of that name"),
        (str(NUMBER), f"this host has no user of that number, so tell the group too, as in {NUMBER}:{NUMBER}"),
    ],
)
def test_who_is_unknown_is_refused(user, message):
    with pytest.raises(Invalid, match=message):
        resolve(user)


def test_an_agent_that_is_not_root_runs_tasks_only_as_itself(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: NUMBER)
    monkeypatch.setattr(os, "getegid", lambda: 7)
    assert resolve(f"{NUMBER}:7") is None
    with pytest.raises(
        Invalid, match="user 'nobody': this agent does not run as root, so it runs tasks only as itself"
    ):
        resolve("nobody")


def test_without_the_program_that_changes_users_it_is_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Invalid, match=r"setpriv \(of util-linux\) changes to it, and is not found"):
        User(uid=1, gid=1, groups=(1,)).command()


@as_root
async def test_a_task_and_its_checks_run_as_its_user_within_its_limits(state):
    async with agent(state) as rig:
        script = (
            "id -u; id -g; id -G; umask; cat /proc/self/status | grep CapEff; touch $HOME/mine && echo up; sleep 1000"
        )
        probe = Check(
            exec_=ExecProbe(command=sh('test "$(id -u)" = ' + str(NOBODY.pw_uid))), every=timedelta(milliseconds=50)
        )
        task = await rig.start(
            *sh(script), user="nobody", env={"LD_FAKE": "1"}, checks=(probe,), resources=Resources(memory=64 << 20)
        )
        said = (await rig.log_until(task, "up\n")).split("\n")
        assert said[:3] == [str(NOBODY.pw_uid), str(NOBODY.pw_gid), str(NOBODY.pw_gid)]
        assert said[4].split() == ["CapEff:", "0000000000000000"]
        await rig.until(lambda: rig.tasks[task].ready)
        await rig.stop(task)
        assert (await rig.over(task)).exit_code == -15
        # Nobody may look into what is the agent's.
        assert (state / "tasks").stat().st_mode & 0o777 == 0o711


@as_root
async def test_a_user_that_cannot_be_is_why_a_task_has_failed(state):
    async with agent(state) as rig:
        over = await rig.over(await rig.start("true", user="no-such-user"))
        assert over.state is TaskState.FAILED
        assert over.reason == "user 'no-such-user': this host has no user of that name"
        assert over.restarts == 0


@as_root
async def test_a_user_that_cannot_come_to_its_own_directory_is_refused(state):
    closed = state / "closed"
    closed.mkdir(0o700)
    async with agent(closed / "state") as rig:
        over = await rig.over(await rig.start("true", user="nobody", restart=NEVER))
        assert f"through {closed}; start the agent with a --state-dir that everybody can pass to" in over.reason
    clear_groups(closed)


def test_who_may_pass_a_directory_is_decided_by_the_first_that_applies(tmp_path):
    def may(mode: int, user: User) -> bool:
        tmp_path.chmod(mode)
        return users._may_pass(user, tmp_path.stat())

    owner, group = tmp_path.stat().st_uid, tmp_path.stat().st_gid
    stranger = User(uid=NUMBER, gid=NUMBER, groups=(NUMBER,))
    member = User(uid=NUMBER, gid=NUMBER, groups=(NUMBER, group))
    assert [may(0o711, stranger), may(0o710, stranger), may(0o710, member), may(0o701, member)] == [
        True,
        False,
        True,
        False,
    ]
    assert may(0o700, User(uid=owner, gid=group, groups=(group,)))
    tmp_path.chmod(0o700)
