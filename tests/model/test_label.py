"""Labels and the names of operations."""

import pytest

from harpoon.model import label
from harpoon.model.label import Member, check_word, read_member


def test_what_is_built_in_is_offered_by_workers_or_given_by_the_engine() -> None:
    assert label.ALWAYS_OFFERED | label.OF_THE_ENGINE == label.BUILT_IN
    assert not label.ALWAYS_OFFERED & label.OF_THE_ENGINE
    assert {"fail", "timeout", "lost"} == label.RETRIED
    assert label.RETRIED | {"exhausted"} == label.FAILURES


@pytest.mark.parametrize("word", ["a", "pay_back", "a0", "a" * 63])
def test_a_word_is_taken(word: str) -> None:
    assert check_word("a label", word) == word


@pytest.mark.parametrize("word", ["", "A", "0a", "_a", "pay-back", "a.b", "a" * 64, "ä", "a\n"])
def test_a_word_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"^a label is 1 to 63 of a-z, 0-9 and '_', starting with a letter; got "):
        check_word("a label", word)


@pytest.mark.parametrize("word", ["in", "else", "true", "null", "namespace"])
def test_words_of_expressions_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"^a label cannot be '{word}', which means something else in expressions"):
        check_word("a label", word)


def test_a_member_is_read_and_written() -> None:
    assert read_member("ask") == Member("ask", "done")
    assert read_member("ask.approved") == Member("ask", "approved")
    assert str(Member("ask", "approved")) == "ask.approved"


@pytest.mark.parametrize("text", ["", ".", "a.", ".b", "a.b.c", "A", "a b", "a\n"])
def test_what_is_no_member_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^needs holds <operation> or <operation>\.<label>, such as ask\.approved; got "
    ):
        read_member(text)
