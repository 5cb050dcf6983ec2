"""Who a task is to run as: from the name or number that was declared to what the kernel knows.

It is resolved by the agent, on its host, at each launch. The change is made by ``setpriv`` (of util-linux) in the place
of the program, after the task has joined its control groups, which only the agent's user may.
"""

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harpoon.agent.paths import open_plainly
from harpoon.kit.errors import Invalid
from harpoon.model.template import Driver, TaskTemplate

#: Has a group stay as it is.
KEPT: Final = -1
_SETPRIV: Final = "setpriv"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of this host, or a number that is to be one."""

    uid: int
    gid: int
    #: All groups, the first one included.
    groups: tuple[int, ...]

    def command(self) -> tuple[str, ...]:
        """Return what runs the program that is appended as this user.

        Raises:
            Invalid: This host has nothing that does.
        """
        program = shutil.which(_SETPRIV)
        if program is None:
            raise Invalid(f"user: {_SETPRIV} (of util-linux) changes to it, and is not found in the agent's PATH")
        groups = ",".join(map(str, self.groups))
        return (program, f"--reuid={self.uid}", f"--regid={self.gid}", f"--groups={groups}", "--")


def resolve(user: str) -> User | None:
    """Find out who is meant; None: it is who the agent runs as, so there is nothing to change.

    Raises:
        Invalid: There is no such user, or the agent may not run anything as that one.
    """
    name, _, group = user.partition(":")
    found = _find(name)
    if found is None and not name.isdigit():
        raise Invalid(f"user {user!r}: this host has no user of that name")
    if found is None and not group:
        raise Invalid(
            f"user {user!r}: this host has no user of that number, so tell the group too, as in {name}:{name}"
        )
    uid = int(name) if found is None else found.pw_uid
    gid = int(group) if group or found is None else found.pw_gid
    if uid == os.geteuid() and gid == os.getegid():
        return None
    if os.geteuid() != 0:
        raise Invalid(f"user {user!r}: this agent does not run as root, so it runs tasks only as itself")
    # One who asks for another group by number asks for that one alone.
    groups = (gid,) if group or found is None else tuple(sorted(set(os.getgrouplist(found.pw_name, gid))))
    return User(uid=uid, gid=gid, groups=groups)


def owner(template: TaskTemplate) -> tuple[int, int] | None:
    """Return the numbers of who is to have what a task is given; None: the agent's own, or nobody is known.

    A container's user is its image's: of a name nobody knows the number here, and a number is taken as it is.
    """
    user = template.user
    if template.driver is Driver.DOCKER:
        number, _, group = (user or "").partition(":")
        return (int(number), int(group or KEPT)) if number.isdigit() and os.geteuid() == 0 else None
    try:
        found = None if user is None else resolve(user)
    except Invalid:
        return None
    return None if found is None else (found.uid, found.gid)


def let_in(user: User, directory: str, above: int) -> None:
    """Give a directory to a user, and let everybody pass through those above it, not look into them.

    Args:
        user: Whose it is to be.
        directory: Which.
        above: How many of those above it are the agent's own.

    Raises:
        Invalid: One further up is closed, which is not the agent's to open.
        OSError: It cannot be done.
    """
    os.chown(directory, user.uid, user.gid, follow_symlinks=False)
    own = list(Path(directory).parents)[:above]
    for parent in own:
        parent.chmod(parent.stat().st_mode & 0o7777 | 0o011)
    hint = "a --state-dir that everybody can pass to, such as /var/lib/harpoon"
    check_way(user, own[-1], "its scratch directory", hint)


def check_way(user: User, path: Path, what: str, hint: str) -> None:
    """See that a user can pass through all directories above a path.

    Args:
        user: Who.
        path: Where to.
        what: What is there, for the message.
        hint: What the agent should be started with instead.

    Raises:
        Invalid: One of them is closed, which is not the agent's to open.
    """
    for parent in path.parents:
        if not _may_pass(user, parent.stat()):
            raise Invalid(f"user {user.uid} cannot come to {what} through {parent}; start the agent with {hint}")


def give(owner: tuple[int, int], path: str) -> None:
    """Give a file, or a directory with all that is in it, to a user's numbers. It blocks.

    Nobody else may be able to change anything there: a hard link to another file would give that one away.

    Raises:
        OSError: It cannot be done.
    """
    os.chown(path, *owner, follow_symlinks=False)
    for _, directories, files, at in os.fwalk(path, onerror=_raise) if Path(path).is_dir() else ():
        for name in (*directories, *files):
            os.chown(name, *owner, dir_fd=at, follow_symlinks=False)


def give_directory(owner: tuple[int, int], path: str) -> None:
    """Give a directory alone to a user's numbers, whoever can change something there. It blocks.

    Raises:
        OSError: It is no directory, or there are links in its path.
    """
    descriptor = open_plainly(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, *owner)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error


def _may_pass(user: User, status: os.stat_result) -> bool:
    if user.uid in (0, status.st_uid):
        return user.uid == 0 or bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid in user.groups else 0o001))


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return None
