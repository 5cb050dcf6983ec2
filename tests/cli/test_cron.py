"""The verbs of cron."""

from pathlib import Path

import orjson
import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

NIGHTLY = "/v1/namespaces/default/jobs/nightly"
MANIFEST = """apiVersion: harpoon/v1
kind: Job
metadata: {name: nightly}
spec:
  type: batch
  cron: {at: "30 2 * * *", timezone: Europe/Berlin}
  task: {command: [date]}
"""


def accepted(**metadata: str) -> Told:
    job = {"metadata": {"name": "nightly-t5", **metadata}}
    return Told(status=202, body={"revision": "1.9", "change": "default.nightly-t5.1-9", "job": job})


def test_a_preview_of_an_expression_tells_local_times_utc_and_what_is_odd(terminal: Terminal) -> None:
    shown = terminal.run(
        "cron", "preview", "30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2027-03-27", "-n", "3"
    )
    assert shown.code == 0
    assert [line.split() for line in shown.out.splitlines()] == [
        ["30", "2", "*", "*", "*", "in", "Europe/Berlin"],
        ["LOCAL", "UTC", "NOTE"],
        ["Sat", "2027-03-27", "02:30", "CET", "2027-03-27T01:30:00Z", "-"],
        [
            *["Sun", "2027-03-28", "03:00", "CEST", "2027-03-28T01:00:00Z"],
            *["02:30", "is", "left", "out:", "clocks", "go", "from", "02:00", "to", "03:00,", "the", "gap's", "end"],
        ],
        ["Mon", "2027-03-29", "02:30", "CEST", "2027-03-29T00:30:00Z", "-"],
    ]


def test_a_preview_of_a_manifest_uses_its_zone_and_is_told_as_json(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_text(MANIFEST)
    shown = terminal.run("cron", "preview", str(file), "--after", "2027-10-31T00:00", "-n", "1", "-o", "json")
    told = orjson.loads(shown.out)
    assert (told["at"], told["timezone"], len(told["items"])) == ("30 2 * * *", "Europe/Berlin", 1)
    assert told["items"][0]["utc"] == "2027-10-31T00:30:00Z"
    assert "comes twice" in told["items"][0]["note"]
    other = terminal.run("cron", "preview", str(file), "--timezone", "UTC", "--after", "2027-10-31", "-n", "1")
    assert "2027-10-31T02:30:00Z" in other.out


def test_a_preview_of_a_job_asks_the_server(terminal: Terminal, server: FakeServer) -> None:
    cron = {"at": "0 5 * * *", "timezone": "America/Sao_Paulo"}
    server.tell(f"GET {NIGHTLY}", Told(body={"spec": {"cron": cron}}))
    shown = terminal.run("cron", "preview", "job/nightly", "-n", "1", server=server.url)
    assert shown.out.startswith("0 5 * * * in America/Sao_Paulo\n")
    assert " 05:00 -03:00 " in shown.out, "zones without a name of their own tell how far they are from UTC"
    server.tell(f"GET {NIGHTLY}", Told(body={"spec": {"cron": None}}))
    none = terminal.run("cron", "preview", "nightly", server=server.url)
    assert (none.code, "job/nightly is no cron job, so it is never due" in none.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("0 0 31 2 *",), "never fires"),
        (("*/0 * * * *",), "its minute is '*/0'"),
        (("0 2 * * *", "--timezone", "Europe/berlin"), "did you mean Europe/Berlin?"),
        (("0 2 * * *", "--after", "soon"), "write a day or a time"),
        (("0 2 * * *", "-o", "name"), "a due has no name"),
        (("agent/a1",), "name a manifest, a job or an expression"),
        (("none.yaml",), "none.yaml"),
    ],
)
def test_what_cannot_be_previewed_says_why(terminal: Terminal, arguments: tuple[str, ...], said: str) -> None:
    shown = terminal.run("cron", "preview", *arguments)
    assert (shown.code, said in shown.err) == (2, True), shown.err


def test_a_fault_in_a_manifest_is_told_with_its_line(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_text(MANIFEST.replace("30 2", "61 2"))
    shown = terminal.run("cron", "preview", str(file))
    assert (shown.code, f"{file}:6" in shown.err) == (2, True)
    assert "its minute is '61'" in shown.err
    file.write_text(MANIFEST.replace("  cron:", "  # cron:"))
    assert "there is no cron in it" in terminal.run("cron", "preview", str(file)).err


def test_pause_and_resume_say_what_comes_next(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {NIGHTLY}/cron/pause", accepted())
    server.tell(f"POST {NIGHTLY}/cron/resume", accepted())
    server.tell(f"GET {NIGHTLY}", Told(body={"status": {"summary": "next 2027-01-01 02:00 CET"}}))
    assert terminal.run("cron", "pause", "nightly", server=server.url).out == (
        "job/nightly paused; to go on: harpoon cron resume nightly\n"
    )
    assert terminal.run("cron", "resume", "job/nightly", server=server.url).out == (
        "job/nightly resumed: next 2027-01-01 02:00 CET\n"
    )


def test_a_trigger_names_the_child_and_waits_for_it(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {NIGHTLY}/cron/trigger", accepted())
    done = {"state": "done", "is_done": True, "summary": "1/1 ready", "waiting": [], "unkept": []}
    server.tell("GET /v1/changes/default.nightly-t5.1-9", Told(body={"id": "default.nightly-t5.1-9", **done}))
    assert terminal.run("cron", "trigger", "nightly", "--no-wait", server=server.url).out == "job/nightly-t5 created\n"
    waited = terminal.run("cron", "trigger", "nightly", server=server.url)
    assert (waited.code, waited.out.splitlines()[0]) == (0, "job/nightly-t5 created")
    server.tell(f"POST {NIGHTLY}/cron/trigger", problem(409, "nightly-5 is not over, and overlap is forbid"))
    refused = terminal.run("cron", "trigger", "nightly", server=server.url)
    assert (refused.code, "nightly-5 is not over" in refused.err) == (4, True)


def test_a_trigger_gives_values_read_as_the_job_types_them(terminal: Terminal, server: FakeServer) -> None:
    parameters = {"day": {"type": "string"}, "count": {"type": "integer"}}
    server.tell(f"GET {NIGHTLY}", Told(body={"spec": {"parameters": parameters}}))
    server.tell(f"POST {NIGHTLY}/cron/trigger", accepted())
    given = ("--set", "day=2026-01-31", "--set", "count=3")
    made = terminal.run("cron", "trigger", "nightly", "--no-wait", *given, server=server.url)
    assert (made.code, made.out) == (0, "job/nightly-t5 created\n")
    assert server.asked[-1].body == {"arguments": {"day": "2026-01-31", "count": 3}}
    for wrong, said in (
        ("count=many", "--set count: write a whole number; got 'many'"),
        ("dya=x", "--set dya: job nightly has no such parameter; it has day, count"),
    ):
        refused = terminal.run("cron", "trigger", "nightly", "--set", wrong, server=server.url)
        assert (refused.code, said in refused.err) == (2, True), refused.err
