"""What jobs take of a quota, and what is refused by it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.core.quota import FIELDS, add, excess, grows, over, room, sentence, use_of
from harpoon.model.namespace import Quota, Use
from tests.builders import MIB, a_job

GIB = 1024 * MIB


def test_a_job_counts_at_full_scale_and_one_that_is_unscheduled_does_not() -> None:
    assert use_of(a_job(scale=3, cpu=500, memory=GIB)) == Use(cpu=1500, memory=3 * GIB, tasks=3, jobs=1)
    assert use_of(a_job(scale=0, cpu=500)) == Use(jobs=1)
    assert use_of(a_job(scale=3, cpu=500, is_terminating=True)) == Use()
    assert use_of(None) == Use()


@pytest.mark.parametrize("field", FIELDS)
def test_each_limit_is_met_exactly_and_refuses_one_more(field: str) -> None:
    quota = Quota(**{field: 7})
    assert excess("shop", quota, Use(), Use(**{field: 7})) == ()
    [found] = excess("shop", quota, Use(**{field: 2}), Use(**{field: 8}))
    assert (found.namespace, found.field) == ("shop", field)


def test_what_is_left_out_is_not_limited() -> None:
    huge = Use(cpu=10**9, memory=1 << 60, tasks=10**9, jobs=10**9)
    assert excess("shop", Quota(), Use(), huge) == () == over(Quota(), huge)


def test_over_a_quota_less_and_as_much_are_taken_and_more_is_refused_by_what_grows_alone() -> None:
    quota, used = Quota(cpu=1000, tasks=2), Use(cpu=3000, tasks=5, jobs=1)
    assert excess("shop", quota, used, used) == ()
    assert excess("shop", quota, used, Use(cpu=2000, tasks=4, jobs=1)) == ()
    assert [one.field for one in excess("shop", quota, used, Use(cpu=2000, tasks=6, jobs=1))] == ["tasks"]


def test_a_refusal_names_the_field_both_values_and_the_fix() -> None:
    used, wanted = Use(cpu=500, memory=15 * GIB), Use(cpu=9000, memory=18 * GIB)
    found = excess("shop", Quota(cpu=8000, memory=16 * GIB), used, wanted)
    assert sentence(found, "lower scale to 12") == (
        "quota of namespace shop: cpu 9000m of 8000m (now 500m), memory 18Gi of 16Gi (now 15Gi); "
        "lower scale to 12 or raise the quota"
    )


def test_a_refusal_tells_of_each_namespace_apart() -> None:
    found = [one for name in ("a", "b") for one in excess(name, Quota(jobs=1), Use(jobs=1), Use(jobs=2))]
    told = (
        "quota of namespace a: jobs 2 of 1 (now 1); quota of namespace b: jobs 2 of 1 (now 1); less or raise the quota"
    )
    assert sentence(found, "less") == told


def test_what_is_passed_is_told_with_both_values() -> None:
    used = Use(cpu=1500, memory=GIB, tasks=3, jobs=1)
    assert over(Quota(cpu=1000, memory=GIB, tasks=2), used) == ("cpu 1500m of 1000m", "tasks 3 of 2")


def test_only_more_of_something_grows() -> None:
    assert grows(Use(cpu=2), Use(cpu=1, jobs=1))
    assert not grows(Use(cpu=2, jobs=1), Use(cpu=1, jobs=1))


def test_the_scale_that_fits_is_that_of_the_scarcest_limit() -> None:
    job = a_job(scale=50, cpu=1000, memory=GIB)
    quota = Quota(cpu=20_000, memory=16 * GIB, tasks=30, jobs=1)
    assert room(quota, Use(cpu=2000, memory=4 * GIB, tasks=3), job) == 12
    assert room(quota, Use(jobs=1), job) == -1
    assert room(quota, Use(memory=20 * GIB), job) == 0
    assert room(Quota(cpu=1), Use(cpu=1), a_job(scale=4)) == 4, "what a task does not take limits no scale"


_AMOUNTS = st.builds(Use, **{field: st.integers(0, 20) for field in FIELDS})
_QUOTAS = st.builds(Quota, **{field: st.none() | st.integers(0, 20) for field in FIELDS})


@settings(deadline=None)
@given(_QUOTAS, _AMOUNTS, _AMOUNTS)
def test_what_is_taken_leaves_no_limit_passed_that_was_kept(quota: Quota, before: Use, after: Use) -> None:
    if not excess("shop", quota, before, after):
        newly = {one.partition(" ")[0] for one in over(quota, after)} - {
            one.partition(" ")[0] for one in over(quota, before)
        }
        assert not newly


@settings(deadline=None)
@given(_QUOTAS, _AMOUNTS, st.integers(0, 30), st.integers(0, 5), st.integers(0, 5))
def test_the_scale_that_is_offered_fits_and_one_more_does_not(
    quota: Quota, others: Use, scale: int, cpu: int, memory: int
) -> None:
    job = a_job(scale=scale, cpu=cpu, memory=memory)
    most = room(quota, others, job)

    def fits(at: int) -> bool:
        return not excess("shop", quota, others, add(others, use_of(a_job(scale=at, cpu=cpu, memory=memory))))

    if most > 0:
        assert fits(most)
    if 0 <= most < scale:
        assert not fits(most + 1)
