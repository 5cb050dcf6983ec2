"""Records that are not decoded again by who wrote them."""

import pytest

from harpoon.kit import codec
from harpoon.model.agent import Link
from harpoon.store import table
from harpoon.store.memory import MemoryStore
from harpoon.store.mirror import Mirror
from harpoon.store.port import Put
from harpoon.store.table import Table
from tests.builders import a_link

LINKS = "/t/links/"


async def written(links: Table[Link], link: Link) -> Link:
    """Write a link, and return what the mirror then shows."""
    store = MemoryStore()
    mirror = Mirror(store, "/t/", (links,))
    await store.commit((), [Put(LINKS + link.agent, codec.dump(link))])
    await mirror.load()
    return links.rows[link.agent].value


async def test_what_is_expected_is_taken_as_it_is() -> None:
    links, link = Table("links", LINKS, Link), a_link()
    links.expect("a1", link, codec.dump(link))
    assert await written(links, link) is link


async def test_something_else_than_expected_is_decoded() -> None:
    links, link, other = Table("links", LINKS, Link), a_link(), a_link(reason="other")
    links.expect("a1", other, codec.dump(other))
    assert await written(links, link) == link


async def test_what_never_comes_is_not_expected_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_EXPECTED_MAX", 3)
    links, link = Table("links", LINKS, Link), a_link()
    for number in range(10):
        links.expect(f"a{number}", link, codec.dump(link))
        assert len(links._expected) <= 3
