"""What a task of another user is given, all of it at once: it is that user's, and nobody else's."""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.agent import mounts
from harpoon.agent.users import give, give_directory
from harpoon.model.check import Check, ExecProbe
from harpoon.model.command import StartTask
from harpoon.model.given import SecretFile, SecretVariable
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.sensitive import Sensitive
from harpoon.model.task import Task, TaskState
from harpoon.model.template import Resources, TaskTemplate
from harpoon.model.volumes import Artifact, ArtifactMode, HostPath, Volume
from tests.agent.archives import a_member, a_tar, sha256
from tests.agent.programs import sh
from tests.agent.rig import Rig, agent
from tests.agent.test_artifacts import serve
from tests.groups import clear_groups

NOBODY = pwd.getpwnam("nobody")
NEVER = Restart(policy=RestartPolicy.NEVER)
OWN = (NOBODY.pw_uid, NOBODY.pw_gid)
VALUE = Sensitive(b"correct horse")
#: A file that only who owns it reads, though the archive says that it is somebody else's.
APP = a_tar(
    a_member("serve", b'#!/bin/sh\n. "${0%/*}/conf"\n', mode=0o755), a_member("conf", b"echo app\n", mode=0o600)
)
TOOL = b"#!/bin/sh\necho tool\n"
SEES = 'test "$(cat "$SECRETS_DIR/pw")" = "$PW" && test "$(id -un)" = nobody && test -e srv/known && test -e cache/up'
USES = """
id -un; cat "$SECRETS_DIR/pw"; echo " $PW"; cat srv/known
run/it/app/serve; run/tool; echo echo more >> run/it/app/conf; touch run/beside run/it/beside
echo mine | tee -a cache/x deep/er/x AT/x
echo no > srv/known; echo '{}' > "$SECRETS_DIR/../values"; ls .. ; ls "$SECRETS_DIR/../.."
echo up
test -e again && touch cache/up && exec sleep 1000
touch again
exit 1
"""
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or mounts.find_tools() is None, reason="only root runs programs as others, and mounts"
)


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that others can pass to, unlike tests' own."""
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    yield directory
    clear_groups(directory)
    shutil.rmtree(directory, ignore_errors=True)


async def start(rig: Rig, template: TaskTemplate) -> Task:
    order = rig.order(template)
    whole = StartTask(
        task=order.task, generation="g1", template=template, reason="scheduled", secrets={"db/password": VALUE}
    )
    result = await rig.obey(whole)
    assert result.is_ok, result.reason
    await rig.until(lambda: order.task in rig.tasks)
    return rig.tasks[order.task]


async def test_a_task_of_another_user_has_its_secrets_volumes_artifacts_and_limits_at_once(state, tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "known").write_text("from the host\n")
    at = f"{state}/at"
    async with (
        serve(app=APP, tool=TOOL) as server,
        agent(state, host_paths=(HostPath(path=str(tmp_path), read_only=True),)) as rig,
    ):
        template = TaskTemplate(
            command=sh(USES.replace("AT", at)),
            user="nobody",
            resources=Resources(memory=64 << 20),
            env={"PW": SecretVariable(secret="db/password")},
            secrets=(SecretFile(secret="db/password", at="pw"),),
            volumes=(
                Volume(host=f"{tmp_path}/srv", at="srv", read_only=True),
                Volume(scratch=1 << 20, at="cache"),
                Volume(scratch=1 << 20, at="deep/er"),
                Volume(scratch=1 << 20, at=at),
            ),
            artifacts=(
                Artifact(url=f"{server.url}/app", sha256=sha256(APP), at="run/it/app"),
                Artifact(url=f"{server.url}/tool", sha256=sha256(TOOL), at="run/tool", mode=ArtifactMode.FILE),
            ),
            checks=(Check(exec_=ExecProbe(command=sh(SEES)), every=timedelta(milliseconds=50)),),
        )
        task = (await start(rig, template)).id
        # It ended once, and found all of it again.
        await rig.until(lambda: rig.tasks[task].ready)
        assert rig.tasks[task].restarts == 1
        once = "nobody\ncorrect horse correct horse\nfrom the host\napp\n{}tool\nmine\nup\n"
        refused = await rig.log(task, "stderr")
        assert await rig.log(task) == once.format("") + once.format("more\n"), refused
        assert refused.count("Permission denied") == 6, refused
        assert refused.count("Read-only file system") == 2, refused
        assert [one.name for one in rig.tasks[task].limits] == ["memory"]
        home = state / "tasks" / task
        others = [path for path in home.rglob("scratch/**/*") if (path.lstat().st_uid, path.lstat().st_gid) != OWN]
        assert others == [home / "scratch" / "srv"], "where the host's path is mounted"
        # By way of the host nobody else comes to what the task has.
        assert [stat.S_IMODE((home / one).stat().st_mode) for one in ("scratch", "volumes", "volumes/3")] == [0o700] * 3
        assert (home / "volumes" / "3" / "x").read_text() == "mine\nmine\n"
        await rig.stop(task)
        await rig.over(task)


async def test_a_user_that_cannot_come_to_its_secrets_is_refused(state, tmp_path):
    (state / "closed").mkdir(0o700)
    async with agent(state, secrets_dir=state / "closed") as rig:
        files = (SecretFile(secret="db/password", at="pw"),)
        task = await start(rig, TaskTemplate(command=("true",), user="nobody", secrets=files, restart=NEVER))
        over = await rig.over(task.id)
        assert over.state is TaskState.FAILED
        hint = "start the agent with a --secrets-dir that everybody can pass to"
        assert over.reason == f"user {OWN[0]} cannot come to its secrets through {state}/closed; {hint}"


def test_giving_a_directory_follows_no_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").touch()
    (tmp_path / "given" / "out").symlink_to("../kept")
    give(OWN, str(tmp_path / "given"))
    assert (tmp_path / "given" / "file").stat().st_uid == (tmp_path / "given" / "out").lstat().st_uid == OWN[0]
    with pytest.raises(OSError, match=r"Not a directory|Too many"):
        give_directory(OWN, f"{tmp_path}/given/out")
    assert (tmp_path / "kept").stat().st_uid == os.geteuid()
