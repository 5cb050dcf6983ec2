"""Every story leaves the trace that is written in it."""

import pytest

from tests.core.story import stories, tell


@pytest.mark.parametrize("path", stories(), ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_written(path):
    written = path.read_text()
    assert tell(written) == written


def test_there_are_stories():
    assert len(stories()) > 10
