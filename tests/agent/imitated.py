"""A directory tree that imitates the files of control groups, for what cannot be had of the kernel that tests run on.

It has the rules of the unified hierarchy (v2) that an agent must mind: a group's controllers are those that the one above
it gives, and one that gives any holds no processes, unless it is the top. It holds nobody to any limit.
"""

import errno
import os
import shutil
from pathlib import Path

import pytest

from harpoon.agent.drivers import hierarchies

CONTROLLERS = "cpuset cpu io memory pids"
ME = str(os.getpid())
_MAKEDIRS = os.makedirs


class Imitated:
    """A unified hierarchy, and what the kernel tells of the agent's place in it."""

    def __init__(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, own: str = "/a/agent", root: str = "/"
    ) -> None:
        self.top, self.proc = directory / "cgroup", directory / "proc"
        self.proc.mkdir(parents=True)
        self.top.mkdir()
        (self.top / "cgroup.controllers").write_text(CONTROLLERS)
        (self.top / "cgroup.subtree_control").write_text(CONTROLLERS)
        (self.top / "cgroup.procs").write_text("")
        (self.proc / "mountinfo").write_text(
            f"23 1 8:1 / / rw - ext4 /dev/root rw\n41 31 0:38 {root} {self.top} rw,relatime - cgroup2 cgroup2 rw\n"
        )
        (self.proc / "cgroup").write_text(f"0::{own}\n")
        monkeypatch.setattr(hierarchies, "write", self.write)
        monkeypatch.setattr(hierarchies, "remove_tree", shutil.rmtree)
        monkeypatch.setattr(os, "makedirs", self.make)
        self.writable = True
        path = self.top
        for part in own.strip("/").split("/"):
            path /= part
            self.make(str(path))
            if part != own.rpartition("/")[2]:
                (path / "cgroup.subtree_control").write_text(CONTROLLERS)
        (path / "cgroup.procs").write_text(f"{ME}\n")

    def make(self, path: str, *, exist_ok: bool = True) -> None:
        """Make a group, with its files."""
        assert exist_ok
        if not path.startswith(str(self.top)):
            _MAKEDIRS(path, exist_ok=True)
            return
        if not self.writable:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        group = Path(path)
        if group.is_dir():
            return
        group.mkdir()
        (group / "cgroup.type").write_text("domain\n")
        (group / "cgroup.procs").write_text("")
        (group / "cgroup.controllers").write_text((group.parent / "cgroup.subtree_control").read_text())
        (group / "cgroup.subtree_control").write_text("")

    def write(self, path: str, value: str) -> None:
        """Do what the kernel does when a file of a group is written."""
        file = Path(path)
        if file.name == "cgroup.procs":
            for other in self.top.rglob("cgroup.procs"):
                other.write_text("".join(f"{pid}\n" for pid in other.read_text().split() if pid != value))
            file.write_text(file.read_text() + f"{value}\n")
        elif file.name == "cgroup.subtree_control":
            if (file.parent / "cgroup.type").exists() and (file.parent / "cgroup.procs").read_text().strip():
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
            file.write_text(f"{file.read_text()} {value.removeprefix('+')}")
        else:
            file.write_text(value)

    def read(self, path: str) -> str:
        """Return what a file of a group holds."""
        return (self.top / path).read_text().strip()
