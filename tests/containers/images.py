"""Images to test with that come from no registry: made of what this machine has, and imported into its engine.

* ``busybox``: a shell and its small tools; what tasks run in.
* ``etcd``: that, with this machine's etcd and etcdctl.
* ``python``: that, with the very interpreter that runs the tests, its standard library and its pip, under ``/usr/local``
  as in the usual images of Python. There is no package manager and no compiler in it.

Each is named for what is in it, so what is there is used again, and made anew when this file or a program changes.
Not for publishing: they trust the certificates that this machine trusts.

By hand: ``python -m tests.containers.images`` makes them all, and the product's own image on top.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import docker
import pip
from docker.errors import BuildError, ImageNotFound

ROOT = Path(__file__).parents[2]
#: What all of them are called, and are told by to belong to the tests.
NAME = "harpoon-test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_FOLDERS = ("bin", "dev", "etc/ssl/certs", "lib", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "var/tmp")
#: What is loaded by name at run time, and by libraries that come as wheels.
_LOADED_LATER = ("libgcc_s.so.1", "libstdc++.so.6", "libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
_LOADED_LATER += ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libm.so.6")
#: Of the standard library: what no program needs, or what marks it as the system's own.
_LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|test|tests|idlelib|turtledemo|tkinter|lib2to3|config-[^/]*|site-packages|dist-packages"
    r"|EXTERNALLY-MANAGED|sitecustomize\.py|_tkinter[^/]*|_test[^/]*|[^/]*\.a)(/|$)"
)
_PATH = "ENV PATH=/usr/local/bin:/usr/bin:/bin:/sbin"


def client() -> docker.DockerClient:
    """Return what asks the engine."""
    return docker.from_env(timeout=300)


def busybox() -> str:
    """Return the image, which is made if it is not there."""
    program = _program("busybox", "busybox-static")
    assert not _libraries(program), f"{program} needs libraries; install busybox-static"
    version = _told(program).split()[1]
    return _imported("busybox", version, _skeleton, _PATH, 'CMD ["sh"]')


def etcd() -> str:
    """Return the image, which is made if it is not there."""
    programs = [_program(name, package) for name, package in (("etcd", "etcd-server"), ("etcdctl", "etcd-client"))]
    version = _told(programs[0], "--version").split()[2]

    def fill(root: Path) -> None:
        _skeleton(root)
        for program in programs:
            _copy(program.resolve(), root / "usr/local/bin" / program.name)
        _add_libraries(root, programs)

    return _imported("etcd", version, fill, _PATH, "ENV ETCDCTL_API=3", "EXPOSE 2379 2380", 'CMD ["etcd"]')


def python() -> str:
    """Return the image, which is made if it is not there."""
    environment = "ENV LANG=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore"
    if CERTIFICATES.exists():
        environment += "".join(f" {name}={CERTIFICATES}" for name in ("SSL_CERT_FILE", "PIP_CERT"))
    return _imported("python", sys.version.split()[0], _interpreter, _PATH, environment, 'CMD ["python3"]')


def harpoon(version: str = "test") -> str:
    """Return the product's own image on the interpreter that runs the tests; built, or known not to differ.

    Args:
        version: Its label's, so that there may be two.
    """
    tag = f"{NAME}/harpoon:{version}"
    build = {"path": str(ROOT), "dockerfile": "deploy/Dockerfile", "tag": tag, "rm": True, "forcerm": True}
    # Where no bridge can be had, what is fetched comes by the host's network.
    arguments = {"BASE": python(), "VERSION": version}
    try:
        client().images.build(**build, buildargs=arguments, network_mode="host", pull=False)
    except BuildError as error:
        lines = "".join(line.get("stream", "") for line in error.build_log)
        raise AssertionError(f"deploy/Dockerfile cannot be built: {error.msg}\n{lines[-4000:]}") from error
    return tag


def _imported(name: str, version: str, fill: Callable[[Path], None], *changes: str) -> str:
    """Return an image of what ``fill`` puts into a directory."""
    key = hashlib.sha256(Path(__file__).read_bytes() + "".join(changes).encode()).hexdigest()[:8]
    repository, tag = f"{NAME}/{name}", f"{version}-{key}"
    engine = client()
    try:
        engine.images.get(f"{repository}:{tag}")
    except ImageNotFound:
        with tempfile.TemporaryDirectory(prefix="harpoon-image-") as folder:
            root, archive = Path(folder, "root"), Path(folder, "root.tar")
            fill(root)
            with tarfile.open(archive, "w") as tar:
                tar.add(root, ".", filter=_owned_by_root)
            engine.api.import_image_from_file(str(archive), repository, tag, changes=list(changes))
    return f"{repository}:{tag}"


def _skeleton(root: Path) -> None:
    """Put a shell and its tools into a directory."""
    for folder in (*_FOLDERS, "usr/local/bin"):
        (root / folder).mkdir(parents=True)
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    program = _program("busybox", "busybox-static")
    shutil.copy2(program.resolve(), root / "bin/busybox")
    for tool in _told(program, "--list").split():
        if tool != "busybox":
            (root / "bin" / tool).symlink_to("busybox")
    (root / "usr/bin/env").symlink_to("/bin/env")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    if CERTIFICATES.exists():
        shutil.copy2(CERTIFICATES, root / "etc/ssl/certs")


def _interpreter(root: Path) -> None:
    """Put the interpreter that runs this into a directory."""
    _skeleton(root)
    number = f"{sys.version_info.major}.{sys.version_info.minor}"
    program = Path(sys._base_executable).resolve()
    library = root / "usr/local/lib" / f"python{number}"
    _copy(program, root / f"usr/local/bin/python{number}")
    for name in ("python3", "python"):
        (root / "usr/local/bin" / name).symlink_to(f"python{number}")
    standard = Path(sysconfig.get_path("stdlib"))
    _copy_tree(standard, library)
    modules = [one for one in (standard / "lib-dynload").glob("*.so") if not _LEFT_OUT.search(one.name)]
    _add_libraries(root, [program, *modules])
    # In the standard library itself: where else an interpreter looks differs from one distribution to another.
    packages = Path(pip.__file__).parents[1]
    for folder in (packages / "pip", next(packages.glob("pip-*.dist-info"))):
        shutil.copytree(folder, library / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    if not (library / "ensurepip").exists():  # a package of its own on Debian
        (library / "ensurepip").mkdir()
        (library / "ensurepip/__init__.py").touch()


def _copy_tree(source: Path, target: Path) -> None:
    def left_out(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(source)
        return {name for name in names if _LEFT_OUT.search(str(inside / name))}

    shutil.copytree(source, target, ignore=left_out, ignore_dangling_symlinks=True)


def _add_libraries(root: Path, programs: Iterable[Path]) -> None:
    """Copy the shared libraries that programs need, with the loader, to where the loader looks for them."""
    needed = {library for program in programs for library in _libraries(program)}
    system = next(one.parent for one in needed if one.name.startswith("libc.so"))
    needed |= {system / name for name in _LOADED_LATER if (system / name).exists()}
    # In the system's C++ library's own place, should that be another one.
    for library in needed:
        is_system = library.parts[1] in ("lib", "lib64", "usr") and "local" not in library.parts
        _copy(library.resolve(), root / (library if is_system else system / library.name).relative_to("/"))


def _libraries(program: Path) -> set[Path]:
    """Return the shared libraries, and the loader, that a program names."""
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return {Path(path) for path in re.findall(r"(?:=>\s+|^\s+)(/\S+)", told, re.MULTILINE)}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def _program(name: str, package: str) -> Path:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found is not None, f"there is no program {name}; install {package}"
    return Path(found)


def _told(program: Path, *arguments: str) -> str:
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    for make in (busybox, etcd, python, harpoon):
        print(make())
