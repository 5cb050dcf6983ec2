"""What may be said of when a job is due."""

import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.model.cron import (
    CRON_NAME_MAX,
    EXPRESSION_MAX,
    Cron,
    check_expression,
    check_timezone,
    zone_names,
    zone_of,
)
from harpoon.model.job import JobType, Metadata, Spec
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.manifest import Manifest
from tests.builders import a_template

NIGHTLY = Cron(at="0 2 * * *")


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (None, "write a cron expression of at most 100 characters"),
        ("* " * EXPRESSION_MAX, "write a cron expression of at most 100 characters"),
        ("", "has five fields: minute hour day-of-month month day-of-week"),
        ("@daily", "five fields: .* got 1"),
        ("0 0 2 * * *", "five fields: .* got 6"),
        ("*/0 * * * *", r"its minute is '\*/0', which is none: write 0 to 59"),
        ("60 * * * *", "its minute is '60'"),
        ("* 24 * * *", "its hour is '24'"),
        ("* * 0 * *", "its day-of-month is '0'"),
        ("* * * FEBRUARY *", "its month is 'FEBRUARY'"),
        ("* * * * 8", "its day-of-week is '8'"),
        ("5-1 * * * *", "its minute is '5-1'"),
        ("٣ * * * *", "its minute is '٣'"),
        ("1,,2 * * * *", "its minute is"),
        ("* * 31 2 *", r"'\* \* 31 2 \*' never fires: there is no such day"),
        ("0 0 30,31 2 *", "never fires"),
        ("0 0 1-28 2 MON#5", ""),
        ("0 0 */10 2 SUN#5", "never fires"),
    ],
)
def test_an_expression_that_is_none_or_never_fires_is_refused_with_its_field(at: object, said: str) -> None:
    if not said:
        assert check_expression(at) == at
        return
    with pytest.raises(ValueError, match=said):
        check_expression(at)


@pytest.mark.parametrize("at", ["0 0 29 2 *", "0 0 31 2 MON", "0 0 L * *", "0 0 LW * *", "0 0 * * 5L", "0 0 29 2 */7"])
def test_what_fires_rarely_fires(at: str) -> None:
    assert check_expression(at) == at


def test_an_expression_is_kept_with_its_fields_one_space_apart() -> None:
    assert check_expression("  0\t2  * * mon-fri ") == "0 2 * * mon-fri"


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789*/,-L#WMONJAN ²٣x"), max_size=30))
def test_any_text_is_taken_or_refused_in_words(text: str) -> None:
    try:
        assert check_expression(text).split() == text.split()
    except ValueError as error:
        assert re.search("five fields|which is none|never fires", str(error))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Europe/berlin", "did you mean Europe/Berlin?"),
        ("america/new york", "did you mean America/New_York?"),
        ("localtime", "there is no time zone 'localtime': write one such as UTC or Europe/Berlin$"),
        ("../UTC", "there is no time zone"),
        ("", "there is no time zone"),
        (7, "there is no time zone"),
    ],
)
def test_a_zone_that_there_is_not_is_refused(name: object, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        check_timezone(name)


def test_every_zone_that_has_a_name_can_be_read() -> None:
    assert len(zone_names()) > 500
    for name in zone_names():
        assert check_timezone(name) == zone_of(name).key == name


def test_a_catch_up_leaves_time_for_one_server_to_follow_another() -> None:
    for span in (timedelta(seconds=9), timedelta(days=8)):
        with pytest.raises(ValueError, match="catch_up is 10s to 168h"):
            Cron(at="0 2 * * *", catch_up=span)


def test_a_cron_job_is_of_type_batch_and_has_no_slots() -> None:
    task = a_template(restart=RestartPolicy.NEVER)
    assert Spec(task=task, type=JobType.BATCH, cron=NIGHTLY).scale == 0
    assert Spec(task=task, type=JobType.BATCH, cron=NIGHTLY, scale=0).scale == 0
    with pytest.raises(ValueError, match="cron is for type: batch"):
        Spec(task=task, cron=NIGHTLY)
    assert Spec(task=task, type=JobType.BATCH, cron=NIGHTLY, completions=3).scale == 0
    for scale in (2, 3):
        with pytest.raises(ValueError, match="scale has no meaning with cron"):
            Spec(task=task, type=JobType.BATCH, cron=NIGHTLY, scale=scale, completions=3)
    with pytest.raises(ValueError, match="scale is for services"):
        Spec(task=task, type=JobType.BATCH, scale=0)


def test_the_name_of_a_cron_job_leaves_room_for_those_of_its_children() -> None:
    spec = Spec(task=a_template(restart=RestartPolicy.NEVER), type=JobType.BATCH, cron=NIGHTLY)
    for length in (CRON_NAME_MAX, CRON_NAME_MAX + 1):
        metadata = Metadata(name="a" * length)
        if length == CRON_NAME_MAX:
            assert Manifest(apiVersion="harpoon/v1", kind="Job", metadata=metadata, spec=spec)
            assert Metadata(name=f"{metadata.name}-t1234567890")
        else:
            with pytest.raises(ValueError, match="at most 51 long"):
                Manifest(apiVersion="harpoon/v1", kind="Job", metadata=metadata, spec=spec)
