"""etcd that proves who it is, and asks who we are: what is right works, what is wrong is told in words that help."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harpoon.store.port import StoreUnavailable, Trouble
from harpoon.store.url import EtcdUrl
from tests.etcd.certificates import Certificates, make_certificates
from tests.etcd.members import Member
from tests.etcd.opening import check_all_ways, opened, refusal

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def certificates(folder: Path) -> Certificates:
    return make_certificates(folder / "ours")


@pytest.fixture(scope="module")
def others(folder: Path) -> Certificates:
    """Of an authority that nobody here trusts."""
    return make_certificates(folder / "others")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Member]:
    with Member(folder / "plain") as member:
        yield member


@pytest.fixture(scope="module")
def by_tls(folder: Path, certificates: Certificates) -> Iterator[Member]:
    with Member(folder / "by-tls", certificates=certificates) as member:
        yield member


@pytest.fixture(scope="module")
def mutual(folder: Path, certificates: Certificates) -> Iterator[Member]:
    with Member(folder / "mutual", certificates=certificates, is_mutual=True) as member:
        yield member


async def test_everything_goes_over_tls(by_tls: Member, certificates: Certificates) -> None:
    async with opened(EtcdUrl(endpoints=(by_tls.endpoint,), is_tls=True, ca=certificates.ca)) as store:
        await check_all_ways(store)
        assert store.health().trouble is None
        assert "db_quota_bytes" in store.health().gauges, "the member's pages are read over TLS, too"


async def test_a_member_may_ask_for_our_certificate(mutual: Member, certificates: Certificates) -> None:
    url = EtcdUrl(
        endpoints=(mutual.endpoint,),
        is_tls=True,
        ca=certificates.ca,
        cert=certificates.client_cert,
        key=certificates.client_key,
    )
    async with opened(url) as store:
        await check_all_ways(store)


async def test_without_the_certificate_that_is_asked_for_we_are_told_so(
    mutual: Member, certificates: Certificates
) -> None:
    error = await refusal(EtcdUrl(endpoints=(mutual.endpoint,), is_tls=True, ca=certificates.ca))
    assert error.trouble in {Trouble.UNREACHABLE, Trouble.DENIED}
    assert "cert" in str(error)


async def test_a_certificate_of_a_foreign_authority_does_not_let_us_in(
    mutual: Member, certificates: Certificates, others: Certificates
) -> None:
    url = EtcdUrl(
        endpoints=(mutual.endpoint,), is_tls=True, ca=certificates.ca, cert=others.client_cert, key=others.client_key
    )
    error = await refusal(url)
    assert error.trouble in {Trouble.UNREACHABLE, Trouble.DENIED}
    assert "cert" in str(error)


async def test_a_member_of_a_foreign_authority_is_refused(by_tls: Member, others: Certificates) -> None:
    for ca in (others.ca, None):
        error = await refusal(EtcdUrl(endpoints=(by_tls.endpoint,), is_tls=True, ca=ca))
        assert error.trouble is Trouble.UNREACHABLE
        assert "TLS connection" in str(error)
        assert "ca" in str(error)
        assert by_tls.endpoint in str(error)


async def test_a_member_is_to_have_the_name_it_is_called_by(folder: Path) -> None:
    certificates = make_certificates(folder / "named", "etcd.example")
    with Member(folder / "named", certificates=certificates, server_name="etcd.example") as member:
        url = EtcdUrl(endpoints=(member.endpoint,), is_tls=True, ca=certificates.ca)
        error = await refusal(url)
        assert error.trouble is Trouble.UNREACHABLE
        assert "server_name" in str(error)
        async with opened(replace(url, server_name="etcd.example")) as store:
            await check_all_ways(store)


async def test_plain_and_tls_do_not_understand_each_other_and_say_so(by_tls: Member, plain: Member) -> None:
    error = await refusal(EtcdUrl(endpoints=(by_tls.endpoint,)))
    assert error.trouble is Trouble.UNREACHABLE
    assert by_tls.endpoint in str(error)
    error = await refusal(EtcdUrl(endpoints=(plain.endpoint,), is_tls=True))
    assert error.trouble is Trouble.UNREACHABLE
    assert "TLS" in str(error)


async def test_a_file_that_is_not_there_is_named(by_tls: Member, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ca .*nowhere\.pem"):
        await refusal(EtcdUrl(endpoints=(by_tls.endpoint,), is_tls=True, ca=tmp_path / "nowhere.pem"))


async def test_what_is_no_certificate_is_told(by_tls: Member, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises((ValueError, StoreUnavailable), match=r"\bca\b"):
        async with opened(EtcdUrl(endpoints=(by_tls.endpoint,), is_tls=True, ca=tmp_path / "ca.pem")):
            pass
