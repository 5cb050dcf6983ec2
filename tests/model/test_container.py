"""What a task in a container may ask for, and what it may not."""

import pytest

from harpoon.model.check import Check, ExecProbe
from harpoon.model.container import CAPABILITIES_MAX, Pull
from harpoon.model.given import SecretFile, SecretVariable
from harpoon.model.template import Driver, TaskTemplate
from harpoon.model.volumes import Artifact, Volume
from tests.builders import an_agent


def docker(**fields):
    return TaskTemplate(**{"driver": Driver.DOCKER, "image": "nginx:1.25"} | fields)


@pytest.mark.parametrize(
    "image",
    [
        "busybox",
        "nginx:1.25",
        "registry.example:5000/team/web:2",
        "localhost/a__b/c-d",
        "ghcr.io/x/y@sha256:" + "a" * 64,
        "a/b:v1@sha256:" + "0" * 64,
    ],
)
def test_an_image_is_a_name_that_an_engine_knows(image):
    assert docker(image=image).image == image


@pytest.mark.parametrize(
    "image",
    ["", "-rf", "--privileged", "a b", "Team/web", "web:", "web@sha256:12", "web;id", "http://x/y", "a" * 513, "x\n"],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match="image is a name such as"):
        docker(image=image)


def test_a_container_may_leave_its_command_out_and_a_process_may_not():
    assert docker().command == ()
    with pytest.raises(ValueError, match="command names a program"):
        TaskTemplate()
    with pytest.raises(ValueError, match="command names a program"):
        docker(command=("",))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"image": None}, "driver docker runs an image"),
        ({"network": "container:db"}, "network is the name of one"),
        ({"network": ""}, "network is the name of one"),
        ({"network": "none", "ports": {"http": 0}}, "a container without a network has no ports"),
        ({"capabilities": ("ALL",)}, "a capability is a single one"),
        ({"capabilities": ("CAP_NET_RAW",)}, "a capability is a single one"),
        ({"capabilities": ("net_raw",)}, "a capability is a single one"),
        ({"capabilities": ("CHOWN",) * (CAPABILITIES_MAX + 1)}, "capabilities holds at most"),
        ({"command": ("a", "$PATH")}, "not in the task's environment"),
        ({"checks": (Check(exec_=ExecProbe(command=("a", "$HOME"))),)}, "not in the task's environment"),
    ],
)
def test_what_no_engine_should_be_given_is_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        docker(**fields)


def test_what_is_for_containers_is_refused_for_processes():
    for fields in (
        {"image": "nginx"},
        {"pull": Pull.ALWAYS},
        {"read_only_root": True},
        {"capabilities": ("CHOWN",)},
        {"network": "bridge"},
    ):
        (name,) = fields
        with pytest.raises(ValueError, match=f"{name} is for driver docker"):
            TaskTemplate(command=("true",), **fields)


def test_what_a_container_finds_of_its_host_is_at_absolute_paths_and_is_no_artifact():
    assert docker(volumes=(Volume(host="/srv", at="/data"), Volume(scratch=1, at="/cache"))).volumes[1].is_mounted
    with pytest.raises(ValueError, match="volumes at cache; write an absolute path, such as /cache"):
        docker(volumes=(Volume(scratch=1, at="cache"),))
    artifact = Artifact(url="https://files.example.org/a", sha256="0" * 64, at="a")
    with pytest.raises(ValueError, match="artifacts is for driver process; put the files into the image"):
        docker(artifacts=(artifact,))


def test_a_containers_command_names_no_secret_either():
    files = (SecretFile(secret="db/password", at="pw"),)
    env = {"PW": SecretVariable(secret="db/password")}
    assert docker(command=("serve", "$SECRETS_DIR/pw"), secrets=files, env=env).command[1] == "$SECRETS_DIR/pw"
    with pytest.raises(ValueError, match=r"command\[1\]: \$PW is a secret"):
        docker(command=("serve", "$PW"), env=env)


def test_all_of_it_goes_together():
    template = docker(
        user="1000:1000",
        network="backend",
        capabilities=("NET_BIND_SERVICE",),
        read_only_root=True,
        pull=Pull.NEVER,
        env={"PATH": "/bin"},
        command=("sh", "$PATH", "$PORT_HTTP", "$HARPOON_TASK"),
        ports={"http": 0},
    )
    assert template.command[1] == "$PATH"


@pytest.mark.parametrize("drivers", [("Docker",), ("",), tuple(f"d{number}" for number in range(17))])
def test_an_agent_offers_a_few_drivers_by_name(drivers):
    with pytest.raises(ValueError, match=r"a driver|drivers are at most 16"):
        an_agent(drivers=drivers)
