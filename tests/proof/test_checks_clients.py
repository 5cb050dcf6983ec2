"""S5, S6, S11 and S12: each takes what is right, and refutes what is wrong by its own name."""

import pytest

from harpoon.model.job import Spec
from harpoon.model.rollout import Failure, RolloutRecord
from tests.builders import a_cordon, a_job, a_template
from tests.proof.checks.answering import ComparedAndOnce
from tests.proof.told import REAL, Told, a_house, refuted


def spec(scale: int = 1, **fields) -> dict:
    """A spec as users write it."""
    return {"scale": scale, "task": {"command": ["sleep", "1000"]}, **fields}


# S5


def test_what_was_acknowledged_is_there():
    told = a_house()
    op = told.invoke("put", spec=spec(2))
    revision = told.job(scale=2)
    told.answer(op, revision=revision)
    op = told.invoke("put", scale=3)
    told.answer(op, revision=told.job(scale=3, version=2))
    op = told.invoke("get")
    told.answer(op, revision=told.revision, found={"spec": spec(3), "version": 2, "generation": "g1"})
    op = told.invoke("delete")
    told.answer(op, revision=told.job(scale=3, version=3, is_terminating=True))
    told.commit({"jobs/default/web": None})
    op = told.invoke("get")
    told.answer(op, "refused", told.revision, code="not_found")
    op = told.invoke("put", spec=spec(9))
    told.answer(op, "unknown")
    told.end()


def test_what_was_acknowledged_and_is_another_is_refuted():
    told = a_house()
    op = told.invoke("put", spec=spec(2))
    revision = told.job(scale=1)
    with refuted("S5"):
        told.answer(op, revision=revision)


def test_a_scale_that_was_acknowledged_and_is_another_is_refuted():
    told = a_house()
    op = told.invoke("put", scale=2)
    with refuted("S5"):
        told.answer(op, revision=told.job(scale=1))


def test_what_was_acknowledged_and_is_not_there_is_refuted():
    told = a_house()
    op = told.invoke("put", spec=spec())
    with refuted("S5"):
        told.answer(op, revision=told.revision)
    told = a_house()
    told.job()
    op = told.invoke("delete")
    with refuted("S5"):
        told.answer(op, revision=told.revision)


def test_an_acknowledgement_of_the_future_is_refuted():
    told = a_house()
    op = told.invoke("put", spec=spec())
    with refuted("S5"):
        told.answer(op, revision=told.revision + 1)


def test_a_real_answer_may_be_heard_of_before_the_store():
    for is_there in (True, False):
        told = a_house(REAL)
        op = told.invoke("put", spec=spec())
        told.answer(op, revision=told.revision + 1)
        if is_there:
            told.job()
            told.end()
        else:
            with refuted("S5"):
                told.end()


@pytest.mark.parametrize(
    "found",
    [None, {"spec": spec(5)}, {"generation": "g9"}, {"version": 9}],
    ids=["none", "spec", "generation", "version"],
)
def test_a_read_of_what_the_store_never_had_is_refuted(found):
    told = a_house()
    told.job()
    op = told.invoke("get")
    with refuted("S5"):
        told.answer(op, revision=told.revision, found=found)


def test_a_read_of_what_is_said_not_to_be_there_is_refuted():
    told = a_house()
    told.job()
    op = told.invoke("get")
    with refuted("S5"):
        told.answer(op, "refused", told.revision, code="not_found")


def test_an_old_read_is_right_unless_a_newer_one_was_asked_for():
    told = a_house()
    old = told.job()
    told.job(scale=2, version=2)
    op = told.invoke("get")
    told.answer(op, revision=old, found={"spec": spec()})
    op = told.invoke("get", min_revision=f"1.{told.revision}")
    with refuted("S5"):
        told.answer(op, revision=old, found={"spec": spec()})


def test_a_store_that_goes_back_is_refuted():
    told = a_house()
    told.revision = 2
    with refuted("S5"):
        told.job()


def test_a_put_that_changes_nothing_tells_since_when_the_job_stands_so():
    told = a_house()
    old = told.job()
    op = told.invoke("put", spec=spec())
    told.job(scale=2, version=2)
    told.answer(op, revision=old)
    told.end()


def test_a_put_that_is_said_to_change_nothing_while_the_job_is_another_is_refuted():
    told = a_house()
    old = told.job()
    told.job(scale=2, version=2)
    op = told.invoke("put", spec=spec())
    with refuted("S5"):
        told.answer(op, revision=old)


def test_what_is_not_found_though_it_is_there_all_the_time_is_refuted():
    told = a_house()
    op = told.invoke("delete")
    told.job()
    told.answer(op, "refused", code="not_found")
    op = told.invoke("delete")
    with refuted("S5"):
        told.answer(op, "refused", code="not_found")


# S6


def test_a_condition_that_holds_is_no_reason_to_refuse():
    told = a_house()
    first = told.job()
    op = told.invoke("put", spec=spec(2), if_match=first)
    told.answer(op, revision=told.job(scale=2, version=2))
    op = told.invoke("put", spec=spec(3), if_match=first)
    told.answer(op, "refused", code="conflict")
    op = told.invoke("put", spec=spec(2), if_match=f"1.{told.revision}")
    told.answer(op, revision=told.revision)
    told.end()


def test_a_stale_condition_that_passes_is_refuted():
    told = a_house()
    first = told.job()
    told.job(scale=2, version=2)
    op = told.invoke("put", spec=spec(3), if_match=first)
    with refuted("S6"):
        told.answer(op, revision=told.job(scale=3, version=3))


@pytest.mark.parametrize("version", [1, 2])
def test_a_change_that_is_written_over_by_one_who_has_not_seen_it_is_refuted(version):
    told = a_house()
    told.job()
    told.job(scale=2, version=2)
    with refuted("S6"):
        told.job(scale=3, version=version)


def test_what_was_refused_and_done_is_refuted():
    for is_late in (False, True):
        told = a_house()
        told.job()
        op = told.invoke("put", spec=spec(3), if_match=1)
        if is_late:
            told.answer(op, "refused", code="conflict")
            with refuted("S6"):
                told.job(scale=3, version=2)
        else:
            told.job(scale=3, version=2)
            with refuted("S6"):
                told.answer(op, "refused", code="conflict")


def test_what_another_asked_for_as_well_may_be_his():
    told = a_house()
    told.job()
    other = told.invoke("put", spec=spec(3))
    op = told.invoke("put", spec=spec(3), if_match=1)
    told.job(scale=3, version=2)
    told.answer(op, "refused", code="conflict")
    told.answer(other, "unknown")
    told.end()


def test_one_idempotency_key_makes_one_change():
    told = a_house(None, ComparedAndOnce)
    op = told.invoke("put", spec=spec(), idempotency_key="k")
    revision = told.job()
    told.answer(op, "unknown")
    op = told.invoke("put", spec=spec(), idempotency_key="k")
    told.answer(op, revision=revision)
    op = told.invoke("put", spec=spec(), idempotency_key="k")
    told.answer(op, revision=revision)
    told.job(scale=2, version=2)
    with refuted("S6"):
        told.job(scale=1, version=3)


def test_what_a_failed_rollout_brings_back_was_asked_for_by_nobody():
    told = a_house(None, ComparedAndOnce)
    op = told.invoke("put", spec=spec(), idempotency_key="k")
    told.answer(op, revision=told.job())
    told.job(scale=2, version=2)
    failure = Failure(version=2, revision=told.revision, at_ms=0, reason="it did not come up", reverted_by=3)
    record = RolloutRecord(namespace="default", job="web", version=3, generation="g1", failure=failure)
    told.commit({"jobs/default/web": a_job(version=3), "rollouts/default/web": record})
    told.end()


def test_one_idempotency_key_with_two_answers_is_refuted():
    told = a_house()
    op = told.invoke("put", scale=1, idempotency_key="k")
    told.answer(op, revision=told.job())
    op = told.invoke("put", scale=2, idempotency_key="k")
    with refuted("S6"):
        told.answer(op, revision=told.job(scale=2, version=2))


def test_specs_are_compared_by_what_they_mean():
    told = a_house()
    op = told.invoke("put", spec=spec(1, update={"surge": 1, "unavailable": 0}))
    told.answer(op, revision=told.job(a_job(task=a_template())))
    assert Spec(task=a_template()).scale == 1
    told.end()


# S11


def watched(told: Told, *kinds: str) -> None:
    """Tell of a watch that begins with a snapshot."""
    told.watch("opened", 0, *kinds)
    told.watch("snapshot", told.revision, "agent/a1", "agent/a2")
    told.watch("synced", told.revision)


def test_a_watch_that_tells_all_once_is_right():
    told = a_house()
    watched(told)
    told.watch("changes", told.job(), "job/default/web")
    one = told.placed("a1")
    told.watch("changes", told.revision, f"placement/a1/{one.task}")
    told.live("i2")
    told.watch("bookmark", told.revision)
    told.watch("bookmark", told.revision)
    told.commit({"cordons/a1": a_cordon("a1"), "cordons/a9": a_cordon("a9")})
    told.watch("changes", told.revision, "agent/a1")
    told.watch("cut")
    told.watch("opened", told.revision - 1)
    told.watch("changes", told.revision, "agent/a1")
    told.watch("gone")
    told.end()


def test_a_watch_of_some_kinds_is_told_of_those_only():
    told = a_house()
    told.watch("opened", told.revision, "jobs")
    told.job()
    told.placed("a1")
    told.watch("changes", told.revision - 1, "job/default/web")
    told.watch("bookmark", told.revision)
    told.end()


def begun() -> Told:
    told = a_house()
    watched(told)
    told.job()
    told.job(name="api")
    return told


def test_a_gap_is_refuted():
    told = begun()
    with refuted("S11"):
        told.watch("changes", told.revision, "job/default/api")


def test_a_bookmark_over_a_gap_is_refuted():
    told = begun()
    with refuted("S11"):
        told.watch("bookmark", told.revision)


def test_what_is_told_twice_or_backwards_is_refuted():
    told = begun()
    told.watch("changes", told.revision - 1, "job/default/web")
    with refuted("S11"):
        told.watch("changes", told.revision - 1, "job/default/web")
    told = begun()
    told.watch("changes", told.revision - 1, "job/default/web")
    with refuted("S11"):
        told.watch("bookmark", told.revision - 2)


@pytest.mark.parametrize(
    "keys",
    [(), ("job/default/web", "job/default/x"), ("job/default/web", "job/default/web")],
    ids=["too few", "made up", "twice"],
)
def test_half_a_revision_is_refuted(keys):
    told = begun()
    with refuted("S11"):
        told.watch("changes", told.revision - 1, *keys)


@pytest.mark.parametrize("keys", [("agent/a1",), ("agent/a1", "agent/a2", "job/default/web")])
def test_a_snapshot_of_what_was_not_there_is_refuted(keys):
    told = a_house()
    revision = told.revision
    told.job()
    told.watch("opened")
    told.watch("snapshot", revision, *keys)
    with refuted("S11"):
        told.watch("synced", revision)


def test_a_snapshot_where_a_watch_was_to_go_on_is_refuted():
    told = a_house()
    told.watch("opened", told.revision)
    told.watch("snapshot", told.revision, "agent/a1", "agent/a2")
    with refuted("S11"):
        told.watch("synced", told.revision)


def test_changes_before_the_snapshot_is_complete_are_refuted():
    told = a_house()
    told.watch("opened")
    with refuted("S11"):
        told.watch("changes", told.job(), "job/default/web")


def test_what_comes_after_the_end_of_a_stream_is_refuted():
    told = begun()
    told.watch("gone")
    with refuted("S11"):
        told.watch("bookmark", told.revision)


def test_a_revision_of_the_future_is_refuted():
    told = a_house()
    watched(told)
    with refuted("S11"):
        told.watch("bookmark", told.revision + 1)


def test_a_real_watcher_may_be_heard_before_the_store():
    for is_there in (True, False):
        told = a_house(REAL)
        watched(told)
        told.watch("changes", told.revision + 1, "job/default/web")
        if is_there:
            told.job()
            told.end()
        else:
            with refuted("S11"):
                told.end()


def test_watchers_of_a_store_that_was_set_back_are_cut_off():
    told = begun()
    told.revision = 0
    told.commit({"meta/cluster": {"cluster": "c1", "incarnation": 2}}, is_anew=True)
    told.watch("changes", 1, "job/default/web")
    told.end()


def test_of_a_store_that_leaves_revisions_out_only_what_is_told_is_judged():
    told = begun()
    told.fault("watch_gap", "i1")
    told.watch("changes", told.revision, "job/default/api")
    told.watch("bookmark", told.revision)
    told.answer(told.invoke("get"), revision=told.revision)
    told.job(version=2)
    with refuted("S11"):
        told.watch("changes", told.revision, "job/default/none")


# S12


def test_a_session_that_goes_forward_is_right():
    told = a_house()
    put = told.invoke("put", session="s", spec=spec())
    first = told.job()
    told.answer(put, revision=first)
    told.job(name="api")
    get = told.invoke("get", session="s")
    told.answer(get, revision=told.revision, found={"spec": spec()})
    put = told.invoke("put", session="s", spec=spec())
    told.answer(put, revision=first)
    get = told.invoke("get", session="other")
    told.answer(get, revision=first, found={"spec": spec()})
    told.end()


@pytest.mark.parametrize("verb", ["put", "get"])
def test_a_session_that_sees_the_past_is_refuted(verb):
    told = a_house()
    old = told.job()
    op = told.invoke(verb, session="s", **({"spec": spec(2)} if verb == "put" else {}))
    told.answer(op, revision=told.job(scale=2, version=2), found={"spec": spec(2)})
    get = told.invoke("get", session="s")
    with refuted("S12"):
        told.answer(get, revision=old, found={"spec": spec()})


def test_a_session_begins_anew_with_another_store():
    told = begun()
    get = told.invoke("get", session="s")
    told.answer(get, revision=told.revision, found={"spec": spec()})
    told.revision = 0
    told.commit({"meta/cluster": {"cluster": "c1", "incarnation": 2}}, is_anew=True)
    get = told.invoke("get", session="s")
    told.answer(get, revision=1)
    told.end()
