import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.services.cron import cron_problems, latest_fire, next_fire

BERLIN = "Europe/Berlin"


def at(text, zone=BERLIN, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


@pytest.mark.parametrize("cron", ["* * * * *", "*/5 0-6 1,15 * MON-FRI", "0 9 * * 1#1", "0 0 L * *"])
def test_known_forms_are_accepted(cron):
    assert cron_problems(cron, BERLIN) == []


@pytest.mark.parametrize(
    ("cron", "zone", "where"),
    [
        ("* * * *", "UTC", ["cron"]),
        ("* * * * * *", "UTC", ["cron"]),
        ("61 * * * *", "UTC", ["cron"]),
        ("", "UTC", ["cron"]),
        ("0 0 30 2 *", "UTC", ["cron"]),
        ("0 0 31 4 *", "UTC", ["cron"]),
        ("* * * * *", "Berlin", ["timezone"]),
        ("* * * * *", "", ["timezone"]),
        ("* * * * *", "../../etc/passwd", ["timezone"]),
        ("x", "Nowhere/Land", ["timezone", "cron"]),
    ],
)
def test_what_cannot_fire_is_refused(cron, zone, where):
    assert [problem.where for problem in cron_problems(cron, zone)] == where


def test_a_fire_at_the_very_moment_is_the_latest_and_not_the_next():
    moment = at("2026-06-01T12:00:00", "UTC")
    assert latest_fire("0 12 * * *", "UTC", moment) == moment
    assert next_fire("0 12 * * *", "UTC", moment) == moment + timedelta(days=1)


@pytest.mark.parametrize("microseconds", [0, 1, 500_000, 999_999])
def test_fractions_of_a_second_fire_nothing_early_or_twice(microseconds):
    noon = at("2026-06-01T12:00:00", "UTC")
    late = noon + timedelta(microseconds=microseconds)
    assert latest_fire("0 12 * * *", "UTC", late) == noon
    early = noon - timedelta(seconds=1) + timedelta(microseconds=microseconds)
    assert latest_fire("0 12 * * *", "UTC", early) == noon - timedelta(days=1)
    assert next_fire("0 12 * * *", "UTC", early) == noon


def test_a_time_that_the_clock_leaves_out_fires_just_after_the_gap():
    assert next_fire("30 2 * * *", BERLIN, at("2026-03-28T12:00")) == at("2026-03-29T03:00")
    assert latest_fire("30 2 * * *", BERLIN, at("2026-03-29T03:10")) == at("2026-03-29T03:00")
    assert latest_fire("30 2 * * *", BERLIN, at("2026-03-30T02:00")) == at("2026-03-29T03:00")


def test_a_time_that_comes_twice_fires_once():
    first, second = at("2026-10-25T02:30", fold=0), at("2026-10-25T02:30", fold=1)
    assert second - first == timedelta(hours=1)
    for moment in (first, first + timedelta(minutes=20), second, second + timedelta(minutes=5)):
        assert latest_fire("30 2 * * *", BERLIN, moment) == first
        assert next_fire("30 2 * * *", BERLIN, moment) == at("2026-10-26T02:30")


def test_every_quarter_of_an_hour_goes_on_through_both_changes():
    for day in ("2026-03-29T00:00", "2026-10-25T00:00"):
        moment, fires = at(day), []
        for _ in range(24):
            moment = next_fire("*/15 * * * *", BERLIN, moment)
            fires.append(moment)
        assert {b - a for a, b in itertools.pairwise(fires)} == {timedelta(minutes=15)}


CRONS = ["*/7 * * * *", "30 2 * * *", "15 1-3 * * *", "0 */2 * * *", "0 3 * * SUN", "59 23 28 2 *"]
# Not Lord Howe, whose clocks change by half an hour: there cronsim's own walk depends on where it begins.
ZONES = ["UTC", BERLIN, "America/St_Johns", "Australia/Sydney", "Asia/Kathmandu"]
CHANGES = ["2026-03-29T01:00", "2026-10-25T01:00", "2026-03-08T06:00", "2026-11-01T06:00", "2026-04-04T15:00"]
SECONDS = st.integers(-5 * 3600, 5 * 3600).map(lambda seconds: timedelta(seconds=seconds))
NEAR_CHANGES = st.builds(lambda text, delta: at(text, "UTC") + delta, st.sampled_from(CHANGES), SECONDS)
ANY = st.datetimes(datetime(2026, 3, 1), datetime(2026, 11, 30), timezones=st.just(UTC))  # noqa: DTZ001
MOMENTS = NEAR_CHANGES | ANY


@settings(max_examples=1000)
@example("*/7 * * * *", BERLIN, at("2026-03-29T01:00", "UTC"))
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), MOMENTS)
def test_the_latest_fire_is_the_last_one_that_a_walk_from_long_before_finds(cron, zone, moment):
    days = 400 if "2 *" in cron[-4:] else 9
    start = (moment - timedelta(days=days)).astimezone(ZoneInfo(zone))
    found = None
    for fire in CronSim(cron, start):
        if fire.astimezone(UTC) > moment:
            break
        found = fire.astimezone(UTC)
    assert latest_fire(cron, zone, moment) == found


@given(st.sampled_from(CRONS), st.sampled_from(ZONES), MOMENTS)
def test_there_is_no_fire_between_the_latest_and_the_next(cron, zone, moment):
    following = next_fire(cron, zone, moment)
    latest = latest_fire(cron, zone, moment)
    assert latest <= moment < following
    assert latest_fire(cron, zone, following - timedelta(microseconds=1)) == latest
    assert latest_fire(cron, zone, following) == following
