"""Patterns: what they match is what Python's own say, and they never take long."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.model.pattern import PATTERN_MAX, Pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "", "^$", "a", "^a$", "^a", "a$", ".", "^.$", "^a*$", "^a+$", "^a?$", "^a{2}$", "^a{2,}$", "^a{1,3}$", "^a{0}$", "^a{0,}b$",
        "^[abc]$", "^[^abc]$", "^[a-c]+$", "^[a-]$", "^[-a]$", r"^\d+$", r"^\D$", r"^\w$", r"^\W$", r"^\s$", r"^\S$", r"^[\d_]+$",
        r"^[^\d]$", r"^[\D]$", r"^[\W]$", r"^[\S]$", "^(a|b)$", "a|b", "a|", "^(?:ab)+$", "^(a|bc)*c$", "^((a)|(b|))c$", "^(a*)*$", "^(a*)+b$",
        r"^\.$", r"^\\$", r"\$$", r"^a\$$", r"^\n$", r"^[\]]$", r"^[\-a]$", r"^[\n\t]$", "^a*?$", "^a+?b$", "^a??$", "^a{1,2}?$",
        "^[A-Z]{2}-[0-9]{2,4}(-(x|y))?$", "^(a?){3}a{3}$", "^(a|b|)+$", "ab*c", "(ab|a)(c|bcd)",
    ],
)  # fmt: skip
def test_it_matches_what_python_matches(pattern: str) -> None:
    texts = [
        "",
        "a",
        "b",
        "c",
        "-",
        "ab",
        "aa",
        "aaa",
        "aaaa",
        "abc",
        "abab",
        "bcbcc",
        "abcd",
        "1",
        "12",
        "_",
        " ",
        "\n",
        "\t",
        ".",
        "\\",
    ]
    texts += ["$", "a$", "é", "]", "xay", "AB-12", "AB-12-x", "AB-1", "AB-12345", "aab", "aaab", "acc", "\r", "0a"]
    told = Pattern.of(pattern)
    # Elsewhere `$` is also before a line's end, and letters of all languages are letters.
    python = re.compile(pattern[:-1] + r"\Z" if told.is_to_end else pattern, re.ASCII)
    for text in texts:
        assert told.is_in(text) is (python.search(text) is not None), text


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "pattern: character 2: a group is not closed; write ')'"),
        (")", "pattern: character 1: there is no '(' to this ')'"),
        ("[a", "pattern: character 3: a set is not closed; write ']'"),
        ("[c-a]", "pattern: character 5: the range c-a is the wrong way round"),
        (r"[\d-z]", "pattern: character 6: a range is from one character to another"),
        (r"[a-\W]", "pattern: character 6: a range is from one character to another"),
        (r"[\W-a]", "pattern: character 6: a range is from one character to another"),
        (r"[a-\w]", "pattern: character 6: a range is from one character to another"),
        ("*", "pattern: character 1: '*' has no meaning here; write '\\*' for the character"),
        ("a**", "pattern: character 3: '*' has no meaning here; write '\\*' for the character"),
        ("a^b", "pattern: character 2: '^' has no meaning here; write '\\^' for the character"),
        ("a{", "pattern: character 3: write how often as {2}, {2,} or {2,4}"),
        ("a{x}", "pattern: character 4: write how often as {2}, {2,} or {2,4}"),
        ("a{2,x}", "pattern: character 6: write how often as {2}, {2,} or {2,4}"),
        ("a{2", "pattern: character 4: a repetition is not closed; write '}'"),
        ("a{3,2}", "pattern: character 7: {3,2} is too often, or the wrong way round"),
        ("a{999}", "pattern: character 7: {999} is too often, or the wrong way round"),
        ("(((){256}){256}){256}", "pattern stands for more than 256 characters; make it shorter"),
        ("(a{20}){20}", "pattern stands for more than 256 characters; make it shorter"),
        (r"(a)\1", "pattern: character 6: there is no escape '\\1'"),
        (r"\bab", "pattern: character 3: there is no escape '\\b'"),
        ("(?=a)", "pattern: character 4: of groups that begin with '(?', there is only '(?:'"),
        ("\\", "pattern: character 2: it ends too early"),
        ("^a|b$", "pattern: with '^' or '$', put the ways between '|' into a group, as in ^(a|b)$"),
        ("(" * 17 + ")" * 17, "pattern: character 18: more than 16 groups within each other"),
        ("a" * (PATTERN_MAX + 1), "pattern is at most 256 characters"),
    ],
)
def test_what_is_no_pattern_here_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Pattern.of(pattern)


PARTS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join).map("({})".format),
        st.lists(inner, min_size=1, max_size=3).map("|".join).map("(?:{})".format),
        st.tuples(inner.map("({})".format), st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,}", "*?"])).map(
            "".join
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(PARTS, st.text("ab1\n", max_size=6), st.booleans(), st.booleans())
def test_any_pattern_matches_what_python_matches(part: str, text: str, is_from_start: bool, is_to_end: bool) -> None:
    start, end = "^" if is_from_start else "", "$" if is_to_end else ""
    python = re.compile(f"{start}{part}" + (r"\Z" if is_to_end else ""), re.ASCII)
    assert Pattern.of(f"{start}{part}{end}").is_in(text) is (python.search(text) is not None)


@settings(max_examples=300, deadline=None)
@given(st.text("ab.*+?{}()[]|^$\\-1,d:", max_size=12), st.text("ab1-", max_size=6))
def test_whatever_is_written_is_a_pattern_or_refused(pattern: str, text: str) -> None:
    try:
        Pattern.of(pattern).is_in(text)
    except ValueError as refused:
        assert str(refused).startswith("pattern")


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a*)*b$", "(a*a*a*a*)c", "^(a|b)*a(a|b){100}$", "(.*)*x"])
def test_no_pattern_takes_long(pattern: str) -> None:
    before = time.process_time()
    assert not Pattern.of(pattern).is_in("ab" * 500 + "!")
    assert time.process_time() - before < 2


def test_what_is_remembered_is_limited() -> None:
    told = Pattern.of("^(a|b)*a(a|b){12}$")
    text = format(0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95**20, "b")
    told.is_in(text.replace("0", "a").replace("1", "b"))
    any_character = Pattern.of("^.*x$")
    assert not any_character.is_in("".join(map(chr, range(100, 2000))))
    assert any_character.is_in("".join(map(chr, range(200, 2000))) + "x")
