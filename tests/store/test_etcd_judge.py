"""What errors of etcd mean: never "it did not happen" when it may have."""

import grpc
import pytest

from harpoon.store.etcd.judge import is_login_over, judge
from harpoon.store.port import Trouble

CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "trouble", "maybe_applied", "is_members"),
    [
        (CODE.UNAVAILABLE, "etcdserver: no leader", Trouble.NO_LEADER, False, True),
        (CODE.UNAVAILABLE, "etcdserver: leader changed", Trouble.UNREACHABLE, True, True),
        (CODE.UNAVAILABLE, "etcdserver: request timed out", Trouble.TIMEOUT, True, True),
        (
            CODE.UNAVAILABLE,
            "etcdserver: request timed out, possibly due to connection lost",
            Trouble.TIMEOUT,
            True,
            True,
        ),
        (CODE.UNAVAILABLE, "etcdserver: server stopped", Trouble.UNREACHABLE, True, True),
        (CODE.UNAVAILABLE, "sendmsg: Permission denied", Trouble.UNREACHABLE, True, True),
        (CODE.UNAVAILABLE, "Socket closed", Trouble.UNREACHABLE, True, True),
        (CODE.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", Trouble.DENIED, False, False),
        (CODE.UNAVAILABLE, "etcdserver: rpc not supported for learner", Trouble.UNFIT, False, True),
        (CODE.DEADLINE_EXCEEDED, "Deadline Exceeded", Trouble.TIMEOUT, True, True),
        (CODE.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Trouble.FULL, True, False),
        (CODE.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Trouble.OVERLOADED, False, True),
        (CODE.RESOURCE_EXHAUSTED, "something else", Trouble.OVERLOADED, True, False),
        (CODE.NOT_FOUND, "etcdserver: requested lease not found", Trouble.LEASE_OVER, False, False),
        (CODE.PERMISSION_DENIED, "etcdserver: permission denied", Trouble.DENIED, False, False),
        (CODE.UNAUTHENTICATED, "etcdserver: invalid auth token", Trouble.DENIED, False, False),
        (
            CODE.INVALID_ARGUMENT,
            "etcdserver: authentication failed, invalid user ID or password",
            Trouble.DENIED,
            False,
            False,
        ),
        (CODE.INVALID_ARGUMENT, "etcdserver: user name is empty", Trouble.DENIED, False, False),
        (CODE.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", Trouble.BROKEN, False, False),
        (CODE.INVALID_ARGUMENT, "etcdserver: request is too large", Trouble.BROKEN, False, False),
        (CODE.DATA_LOSS, "etcdserver: corrupt cluster", Trouble.BROKEN, False, True),
        (CODE.INTERNAL, "whatever", Trouble.UNREACHABLE, True, True),
        (CODE.CANCELLED, "", Trouble.UNREACHABLE, True, True),
        (CODE.UNKNOWN, "", Trouble.BROKEN, True, True),
    ],
)
def test_an_error_is_judged_by_what_etcd_says(
    code: grpc.StatusCode, details: str, trouble: Trouble, maybe_applied: bool, is_members: bool
) -> None:
    verdict = judge(code, details)
    assert (verdict.trouble, verdict.maybe_applied, verdict.is_members) == (trouble, maybe_applied, is_members)


@pytest.mark.parametrize("trouble", [Trouble.FULL, Trouble.DENIED])
def test_what_an_operator_can_mend_says_how(trouble: Trouble) -> None:
    words = {Trouble.FULL: "etcdserver: mvcc: database space exceeded", Trouble.DENIED: "etcdserver: permission denied"}
    assert "etcdctl" in judge(CODE.UNKNOWN, words[trouble]).fix


def test_a_token_that_ran_out_is_told_from_a_wrong_password() -> None:
    assert is_login_over(CODE.UNAUTHENTICATED, "etcdserver: invalid auth token")
    assert is_login_over(CODE.UNKNOWN, "etcdserver: invalid auth token")
    assert is_login_over(CODE.INVALID_ARGUMENT, "etcdserver: revision of auth store is old")
    assert not is_login_over(CODE.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password")
