"""etcd that asks for a password, by TLS: who knows it is let in for as long as it takes, and who does not is told so."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harpoon.store.port import Put, StoreUnavailable, Trouble
from harpoon.store.url import EtcdUrl
from tests.etcd.certificates import Certificates, make_certificates, make_signing_keys
from tests.etcd.members import Member
from tests.etcd.opening import REFUSED_WITHIN_S, check_all_ways, is_renewed, opened, refusal
from tests.etcd.programs import etcd_version
from tests.store.reading import entries, put, told

pytestmark = pytest.mark.system

PASSWORD = "right"
#: Of the kept ones; the signed ones, which count whole seconds only, have one more.
TOKEN_TTL_S = 1


def sees_into_batches() -> bool:
    """Whether this etcd checks permissions within nested transactions (CVE-2026-33343)."""
    version = etcd_version()
    return version >= {4: (3, 4, 42), 5: (3, 5, 28), 6: (3, 6, 9)}.get(version[1], version)


@dataclass(frozen=True)
class Guarded:
    """A member that asks for a password, by TLS, and whose tokens are soon over."""

    member: Member
    folder: Path
    certificates: Certificates

    def url(self, user: str = "root", password: str = PASSWORD) -> EtcdUrl:
        path = self.folder / f"password-{user}-{password}"
        path.write_text(f"{password}\n")
        return EtcdUrl(
            endpoints=(self.member.endpoint,), is_tls=True, ca=self.certificates.ca, user=user, password_file=path
        )

    def ask(self, path: str, body: object) -> dict:
        """Ask as an administrator."""
        login = self.member.ask("auth/authenticate", {"name": "root", "password": PASSWORD})
        return self.member.ask(path, body, token=login["token"])


#: How tokens are made: kept in the member's memory, and told to last longer by each use; or signed, and final.
TOKENS: dict[str, Callable[[Path], str]] = {
    "simple": lambda _folder: "--auth-token=simple",
    "jwt": lambda folder: (
        "--auth-token=jwt,sign-method=RS256,ttl=2s,"
        + ",".join(f"{name}-key={path}" for name, path in zip(("priv", "pub"), make_signing_keys(folder), strict=True))
    ),
}


@pytest.fixture(scope="module", params=TOKENS)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    place = tmp_path_factory.mktemp(request.param)
    certificates = make_certificates(place / "certificates")
    flags = [f"--auth-token-ttl={TOKEN_TTL_S}", TOKENS[request.param](place)]
    with Member(place, certificates=certificates, flags=flags) as member:
        member.enable_auth(PASSWORD)
        yield Guarded(member, place, certificates)


async def test_whoever_knows_the_password_is_let_in(guarded: Guarded) -> None:
    async with opened(guarded.url()) as store:
        await check_all_ways(store)


async def test_whoever_does_not_is_denied(guarded: Guarded) -> None:
    for url in (guarded.url(password="wrong"), guarded.url(user="nobody")):
        error = await refusal(url)
        assert error.trouble is Trouble.DENIED
        assert "password" in str(error)
        assert "wrong" not in str(error), "no password is told"


async def test_without_a_user_nothing_can_be_done_and_we_are_told_why(guarded: Guarded) -> None:
    url = replace(guarded.url(), user=None, password_file=None)
    async with asyncio.timeout(REFUSED_WITHIN_S), AsyncExitStack() as stack:
        with pytest.raises(StoreUnavailable, match="user") as caught:
            store = await stack.enter_async_context(opened(url))
            await store.get("/h/a")
    assert caught.value.trouble is Trouble.DENIED
    assert not caught.value.maybe_applied


async def test_a_user_may_do_what_its_role_allows_and_is_told_what_it_lacks(guarded: Guarded) -> None:
    guarded.ask("auth/user/add", {"name": "harpoon", "password": "h"})
    guarded.ask("auth/role/add", {"name": "keeper"})
    guarded.ask("auth/user/grant", {"user": "harpoon", "role": "keeper"})
    permission = {"permType": "READWRITE", "key": _base64("/h/"), "range_end": _base64("/h0")}
    guarded.ask("auth/role/grant", {"name": "keeper", "perm": permission})
    async with opened(guarded.url("harpoon", "h")) as store:
        await put(store, "/h/mine")
        assert [entry.key for entry in await entries(store, "/h/mine")] == ["/h/mine"]
        with pytest.raises(StoreUnavailable, match="role") as caught:
            await put(store, "/other")
        assert caught.value.trouble is Trouble.DENIED
        assert not caught.value.maybe_applied
        assert store.health().errors[Trouble.DENIED] > 0
        # One that is denied does not hurt the others of its batch. (Older members do not look into batches so closely.)
        outcomes = await asyncio.gather(
            put(store, "/h/1"), put(store, "/other"), put(store, "/h/2"), put(store, "/h/3"), return_exceptions=True
        )
        denied = outcomes.pop(1)
        assert all(isinstance(outcome, int) for outcome in outcomes)
        assert isinstance(denied, StoreUnavailable) or not sees_into_batches()


async def test_a_token_that_is_over_is_renewed_without_anybody_noticing(guarded: Guarded) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        # One each, as whatever one does first gets it a new token.
        stores = [await stack.enter_async_context(opened(guarded.url())) for _ in range(8)]
        writing, reading, listing, granting, revoking, watching, late, holding = stores
        revoked, held = await revoking.lease(10), await holding.lease(2)
        after = await holding.commit((), (Put("/h/held", b"", held),))
        assert after is not None
        stream = await stack.enter_async_context(aclosing(watching.watch("/h/", after=after)))
        # Time has to pass: a token is over when the member says so, which looks once a second.
        await asyncio.sleep(TOKEN_TTL_S + 1.3)
        outcomes = await asyncio.gather(*(put(writing, f"/h/{n}") for n in range(20)))
        assert await reading.revision() >= max(outcomes)
        assert "/h/held" in [entry.key for entry in await entries(listing, "/h/")]
        assert (await told(late, "/h/", after=after, until=max(outcomes)))[-1][0] == max(outcomes)
        while (await anext(stream))[0] < max(outcomes):
            pass
        await (await granting.lease(10)).revoke()
        await revoked.revoke()
        await is_renewed(holding, held)
        assert await holding.get("/h/held") is not None
        assert [store.health().trouble for store in stores] == [None] * len(stores)


async def test_tokens_that_a_restart_made_worthless_are_replaced(guarded: Guarded) -> None:
    async with opened(guarded.url()) as store, asyncio.timeout(30):
        lease = await store.lease(10)
        after = await put(store, "/h/before")
        async with aclosing(store.watch("/h/", after=after)) as stream:
            await asyncio.to_thread(guarded.member.restart)
            revision = await put(store, "/h/after")
            while (seen := await anext(stream))[0] < revision:
                pass
            assert seen[0] == revision
        await is_renewed(store, lease)


async def test_work_goes_on_while_users_are_changed(guarded: Guarded) -> None:
    async with opened(guarded.url()) as store, asyncio.timeout(30):
        before = await put(store, "/h/0")
        async with aclosing(store.watch("/h/", after=before)) as stream:
            for n in range(5):
                guarded.ask("auth/user/add", {"name": f"user-{guarded.member.name}-{n}", "password": "x"})
                await asyncio.gather(*(put(store, f"/h/{k}") for k in range(10)))
                revision = await store.revision()
                while (await anext(stream))[0] < revision:
                    pass


async def test_a_password_that_is_changed_is_read_anew_from_its_file(guarded: Guarded) -> None:
    guarded.ask("auth/user/add", {"name": "changing", "password": "old"})
    guarded.ask("auth/user/grant", {"user": "changing", "role": "root"})
    url = guarded.url("changing", "old")
    assert url.password_file is not None
    async with opened(url) as store, asyncio.timeout(30):
        lease = await store.lease(2)
        await put(store, "/h/a")
        guarded.ask("auth/user/changepw", {"name": "changing", "password": "new"})
        url.password_file.write_text("new")
        await put(store, "/h/b")
        await is_renewed(store, lease)
        guarded.ask("auth/user/changepw", {"name": "changing", "password": "newer"})
        with pytest.raises(StoreUnavailable, match="password") as caught:
            # A signed token is good until it is over.
            for _ in range(400):
                await put(store, "/h/c")
                await asyncio.sleep(0.01)
        assert caught.value.trouble is Trouble.DENIED
        assert store.health().trouble is Trouble.DENIED
        assert "password" in store.health().reason
        url.password_file.write_text("newer")
        await put(store, "/h/d")
        assert store.health().trouble is None


def _base64(key: str) -> str:
    return b64encode(key.encode()).decode()
