"""What an etcd server is checked for: a sentence for each fault, none for a good one, and a real server's facts."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.store.etcd.inspection import INSPECTED_WITHIN, flags_of, inspect
from harpoon.store.etcd.settings import Facts, judge
from harpoon.store.url import EtcdUrl
from tests.ports import free_port

KEPT = timedelta(minutes=10)
GIB = 1 << 30
GOOD = Facts(
    version="3.5.28",
    versions={"a:2379": "3.5.28", "b:2379": "3.5.28"},
    db_bytes=GIB,
    used_bytes=GIB,
    quota_bytes=8 * GIB,
    flags={"name": "a", "quota-backend-bytes": str(8 * GIB)},
)


def with_flags(**flags: str) -> Facts:
    return replace(GOOD, flags={name.replace("_", "-"): value for name, value in flags.items()})


@pytest.mark.parametrize("version", ["3.4.22", "3.4.45", "3.5.6", "3.5.28", "3.6.0", "3.6.9", "3.7.0-rc.0", "4.0.0"])
def test_a_good_server_is_not_spoken_of(version: str) -> None:
    assert judge(replace(GOOD, version=version), KEPT) == ((), ())


def test_a_server_that_tells_nothing_but_its_version_is_used() -> None:
    assert judge(Facts(version="3.4.23"), KEPT) == ((), ())


REFUSED = [
    (replace(GOOD, version="2.3.8"), ["etcd 2.3.8 is not supported", "3.4.22", "3.6.9"]),
    (replace(GOOD, version="3.3.27"), ["etcd 3.3.27 is not supported", "3.4.22"]),
    (replace(GOOD, version="3.5.0"), ["etcd 3.5.0 can lose or corrupt", "fixed in 3.5.3", "hashkv --cluster"]),
    (replace(GOOD, version="3.5.0-rc.1"), ["etcd 3.5.0-rc.1 can lose or corrupt"]),
    (replace(GOOD, version="3.5.2"), ["etcd 3.5.2 can lose or corrupt"]),
    (with_flags(max_txn_ops="127"), ["--max-txn-ops=127", "--max-txn-ops=128"]),
    (with_flags(max_request_bytes="1048576"), ["--max-request-bytes=1048576", "--max-request-bytes=1572864"]),
]


@pytest.mark.parametrize(("facts", "words"), REFUSED)
def test_what_loses_data_or_cannot_hold_a_commit_is_refused(facts: Facts, words: list[str]) -> None:
    refusals, warnings = judge(facts, KEPT)
    assert len(refusals) == 1
    assert warnings == ()
    for word in words:
        assert word in refusals[0]


WARNED = [
    (replace(GOOD, version="3.4.21"), ["etcd 3.4.21 may lose", "3.4.22 or later"]),
    (replace(GOOD, version="3.5.3"), ["etcd 3.5.3 may lose", "3.5.6 or later"]),
    (replace(GOOD, version=""), ["version is not known (not told)", "3.5.0, 3.5.1 and 3.5.2"]),
    (replace(GOOD, version="vNext"), ["version is not known (vNext)"]),
    (
        replace(GOOD, versions={"b:2379": "3.5.28", "a:2379": "3.4.23"}),
        ["different versions (a:2379 3.4.23, b:2379 3.5.28)", "finish the upgrade"],
    ),
    (
        replace(GOOD, alarms=("NOSPACE",)),
        ["alarm NOSPACE", "takes no writes", "etcdctl defrag", "etcdctl alarm disarm"],
    ),
    (replace(GOOD, alarms=("CORRUPT",)), ["alarm CORRUPT", "etcdctl endpoint hashkv --cluster"]),
    (
        replace(GOOD, db_bytes=7 * GIB, used_bytes=7 * GIB),
        ["88% of its quota of 8Gi", f"--quota-backend-bytes={16 * GIB}", "--keep-history"],
    ),
    (
        replace(GOOD, db_bytes=2 * GIB, used_bytes=2 * GIB, quota_bytes=2 * GIB),
        ["100% of its quota of 2Gi", f"--quota-backend-bytes={8 * GIB}"],
    ),
    (
        replace(GOOD, db_bytes=7 * GIB, used_bytes=GIB),
        ["file takes 88% of its quota of 8Gi", "only 1Gi of it are in use", "one member at a time", "etcdctl defrag"],
    ),
    (replace(GOOD, quota_bytes=16 * GIB // 17, db_bytes=0, used_bytes=0), ["quota is 964Mi", "--quota-backend-bytes="]),
    (
        replace(with_flags(quota_backend_bytes="1000000"), quota_bytes=None),
        ["quota is 1Mi", f"--quota-backend-bytes={8 * GIB}"],
    ),
    (
        with_flags(auto_compaction_retention="5m"),
        ["--auto-compaction-retention=5m", "after 5m", "10m (--keep-history)", "without the flag", "at least 10m"],
    ),
    (with_flags(auto_compaction_mode="periodic", auto_compaction_retention="1m30s"), ["after 90s"]),
    (with_flags(auto_compaction_retention="500ms"), ["after 500ms"]),
    (
        with_flags(auto_compaction_mode="revision", auto_compaction_retention="1000"),
        ["after 1000 revisions", "at least 100000"],
    ),
    (
        replace(GOOD, may_compact=False),
        ["not let our user compact", "--auto-compaction-retention=600s", "etcdctl user grant-role USER root"],
    ),
]


@pytest.mark.parametrize(("facts", "words"), WARNED)
def test_what_will_be_trouble_is_told_with_its_cure(facts: Facts, words: list[str]) -> None:
    refusals, warnings = judge(facts, KEPT)
    assert refusals == ()
    assert len(warnings) == 1
    for word in words:
        assert word in warnings[0]


@pytest.mark.parametrize(
    "flags",
    [
        {"auto_compaction_retention": "10m"},
        {"auto_compaction_retention": "1"},  # an hour
        {"auto_compaction_retention": "0"},
        {"auto_compaction_retention": "1h30m"},
        {"auto_compaction_retention": "soon"},
        {"auto_compaction_mode": "revision", "auto_compaction_retention": "100000"},
        {"auto_compaction_mode": "revision"},
        {"max_txn_ops": "1024", "max_request_bytes": "10485760"},
        {"max_txn_ops": "many"},
    ],
)
def test_flags_that_leave_enough_are_not_spoken_of(flags: dict[str, str]) -> None:
    assert judge(with_flags(**flags), KEPT) == ((), ())


def test_who_may_not_compact_is_not_told_so_where_etcd_does_it_by_itself() -> None:
    assert judge(replace(with_flags(auto_compaction_retention="1h"), may_compact=False), KEPT) == ((), ())


def test_longer_history_asks_for_longer_retention() -> None:
    assert judge(with_flags(auto_compaction_retention="1h"), timedelta(minutes=30)) == ((), ())
    (warning,) = judge(with_flags(auto_compaction_retention="1h"), timedelta(hours=2)).warnings
    assert "2h (--keep-history)" in warning


def test_a_full_server_is_not_also_told_that_it_fills() -> None:
    full = replace(GOOD, alarms=("NOSPACE",), db_bytes=9 * GIB, used_bytes=9 * GIB)
    assert len(judge(full, KEPT).warnings) == 1


def test_a_quota_that_is_switched_off_is_no_small_one() -> None:
    assert judge(replace(GOOD, quota_bytes=0, flags={"quota-backend-bytes": "-1"}), KEPT) == ((), ())


def test_flags_are_read_as_etcd_reads_them() -> None:
    words = ["etcd", "--name", "a", "-max-txn-ops=64", "--pre-vote", "--max-txn-ops", "128", "--enable-v2", 7]
    assert flags_of(words) == {"name": "a", "max-txn-ops": "128", "pre-vote": "true", "enable-v2": "true"}
    assert flags_of([]) == {}


async def test_a_member_that_is_not_there_tells_nothing() -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    assert await inspect(endpoint, EtcdUrl(endpoints=(endpoint,))) == Facts()


async def test_a_member_that_says_nothing_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        assert await inspect(endpoint, EtcdUrl(endpoints=(endpoint,))) == Facts()
        assert time.monotonic() - began < INSPECTED_WITHIN.total_seconds() + 1


async def test_what_is_no_page_of_etcd_tells_nothing() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\netcd_x zero\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await inspect(endpoint, EtcdUrl(endpoints=(endpoint,))) == Facts()


@contextmanager
def etcd(folder: Path, *flags: str, scheme: str = "http") -> Iterator[str]:
    """Run a member; yield its endpoint once it takes connections."""
    program = shutil.which("etcd")
    assert program, "these tests need etcd: apt-get install etcd-server"
    port, peer = free_port(), free_port()
    client = f"{scheme}://127.0.0.1:{port}"
    where = ["--listen-client-urls", client, "--advertise-client-urls", client]
    peers = ["--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls"]
    peers += [f"http://127.0.0.1:{peer}", "--initial-cluster", f"default=http://127.0.0.1:{peer}"]
    log = folder / "etcd.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [program, "--data-dir", str(folder / "data"), *where, *peers, *flags], stdout=out, stderr=out
        )
    try:
        began = time.monotonic()
        while b"ready to serve client requests" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() - began < 20, log.read_text()
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.system
async def test_a_real_server_tells_its_version_its_size_its_quota_and_its_flags(tmp_path: Path) -> None:
    flags = ("--quota-backend-bytes=104857600", "--auto-compaction-retention", "1m", "--max-txn-ops", "64")
    with etcd(tmp_path, *flags) as endpoint:
        facts = await inspect(endpoint, EtcdUrl(endpoints=(endpoint,)))
    assert facts.version.startswith("3.")
    assert facts.versions == {endpoint: facts.version}
    assert facts.quota_bytes == 104_857_600
    assert 0 < facts.used_bytes <= facts.db_bytes
    assert facts.flags["auto-compaction-retention"] == "1m"
    (refusal,), warnings = judge(facts, KEPT)
    assert "--max-txn-ops=64" in refusal
    assert "quota is 100Mi" in warnings[0]
    assert "--auto-compaction-retention=1m" in warnings[1]


def certificates(folder: Path) -> dict[str, Path]:
    """Make an authority, and a certificate that it signed, for a server called ``etcd.test`` and for a client."""
    files = {name: folder / name for name in ("ca.pem", "ca.key", "one.pem", "one.key", "one.csr", "names")}
    files["names"].write_text("subjectAltName=DNS:etcd.test")

    def run(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("req", "-x509", *new, "-keyout", str(files["ca.key"]), "-out", str(files["ca.pem"]), "-subj", "/CN=ca")
    run("req", *new, "-keyout", str(files["one.key"]), "-out", str(files["one.csr"]), "-subj", "/CN=harpoon")
    signing = ("-CA", str(files["ca.pem"]), "-CAkey", str(files["ca.key"]), "-CAcreateserial")
    run(
        "x509",
        "-req",
        "-in",
        str(files["one.csr"]),
        *signing,
        "-extfile",
        str(files["names"]),
        "-out",
        str(files["one.pem"]),
    )
    return files


@pytest.mark.system
async def test_a_server_that_asks_who_we_are_is_inspected_with_our_certificate(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    ca, cert, key = files["ca.pem"], files["one.pem"], files["one.key"]
    flags = ("--cert-file", cert, "--key-file", key, "--client-cert-auth", "--trusted-ca-file", ca)
    with etcd(tmp_path, *map(str, flags), scheme="https") as endpoint:
        ours = EtcdUrl(endpoints=(endpoint,), is_tls=True, ca=ca, cert=cert, key=key, server_name="etcd.test")
        assert (await inspect(endpoint, ours)).version.startswith("3.")
        for wrong in (
            replace(ours, cert=None, key=None),
            replace(ours, server_name=None),
            replace(ours, ca=None),
            replace(ours, ca=tmp_path / "absent"),
        ):
            assert await inspect(endpoint, wrong) == Facts()
