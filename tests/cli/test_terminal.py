"""What is shown: tables, colours, and the examples that users start from."""

import io
import sys
from pathlib import Path

import pytest

from harpoon.cli import terminal
from harpoon.cli.columns import kind_of
from harpoon.cli.figures import age
from harpoon.cli.table import Column, Table
from harpoon.kit import codec, yaml
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Invalid
from harpoon.model.manifest import Manifest
from harpoon.model.workflow import WorkflowManifest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
COLUMNS = (
    Column("NAME", lambda row: row["name"]),
    Column("STATE", lambda row: row["state"], is_state=True),
    Column("MORE", lambda row: "more", is_wide=True),
)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def rows(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "state": "ready"} for name in names]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(Table(COLUMNS).lines(rows("a", "longer"))) == ["NAME     STATE", "a        ready", "longer   ready"]


def test_rows_that_come_later_stand_under_the_same_titles() -> None:
    table = Table(COLUMNS)
    list(table.lines(rows("longer")))
    assert list(table.lines(rows("a"), has_titles=False)) == ["a        ready"]


def test_an_empty_cell_is_a_dash_and_wide_has_more() -> None:
    assert list(Table(COLUMNS, is_wide=True).lines(rows("")))[1].split() == ["-", "ready", "more"]


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({}, False)],
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_coloured: bool
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Screen())
    assert ("\x1b[" in terminal.paint("ready", "green")) is is_coloured


def test_an_age_is_told_in_its_largest_unit() -> None:
    now = SystemClock().now().wall
    spans = [(5_000, "5s"), (119_000, "119s"), (120_000, "2m"), (7_200_000, "2h"), (3 * 86_400_000, "3d")]
    for milliseconds, told in spans:
        assert age(now - milliseconds) == told
    assert age(None) == age(0) == ""
    assert age(now + 60_000) == "0s"


@pytest.mark.parametrize("word", ["job", "jobs", "JOBS", "task", "agent", "endpoints", "ep"])
def test_a_kind_may_be_named_in_singular_and_plural(word: str) -> None:
    assert kind_of(word).plural.startswith(word.lower()[:1])


def test_a_kind_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid, match="jobs, tasks, agents, endpoints, waiting"):
        kind_of("pods")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_manifest(path: Path) -> None:
    kinds: dict[str, type[Manifest | WorkflowManifest]] = {"Job": Manifest, "Workflow": WorkflowManifest}
    for document in yaml.load_documents(path.read_bytes(), path.name):
        assert isinstance(document.value, dict)
        assert codec.decode(kinds[document.value["kind"]], yaml.to_json(document)).metadata.name


def test_there_are_examples() -> None:
    assert {"web.yaml", "web-v2.yaml"} <= {path.name for path in EXAMPLES}
