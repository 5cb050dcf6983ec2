"""Descriptions come from the source, and nothing breaks where there is none."""

from harpoon.kit.comments import comments, description
from harpoon.model.agent import Agent, LinkState
from harpoon.model.shown import AgentObject


class Nouns:
    """A ``word`` in code."""

    #: Of two
    #: lines.
    a: int
    # Not told.
    b: int
    (c, d) = (1, 2)  # not one name
    #: A member.
    E = 1


def test_comments_stand_before_fields_and_members() -> None:
    assert comments(Nouns) == {"a": "Of two lines.", "E": "A member."}
    assert comments(LinkState)["LOST"] == "Not reached for `lost_after`: its tasks are replaced elsewhere."


def test_comments_are_inherited() -> None:
    assert comments(AgentObject)["uid"] == comments(Agent)["uid"]


def test_a_description_is_the_docstring_as_markdown() -> None:
    assert description(Nouns) == "A `word` in code."


def test_what_has_no_source_has_no_description() -> None:
    made = type("Made", (), {"__module__": "builtins", "__doc__": None})
    assert comments(made) == {}
    assert description(made) == ""
