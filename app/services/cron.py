"""When a cron expression fires, in a time zone: pure, and like Debian's cron where the clocks change.

A job at a time that a change leaves out runs just after the gap; one at a time that comes twice runs the first time.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from celesta.errors import Problem

FIELDS = 5
LARGEST_GAP = timedelta(hours=2)
"""No change of the clocks leaves out more."""


def cron_problems(cron: str, timezone: str) -> list[Problem]:
    """What is wrong with an expression and a zone; empty when they make fires."""
    problems = []
    if not _is_zone(timezone):
        problems.append(Problem("timezone", f'"{timezone}" is no time zone; write one like Europe/Berlin, or UTC'))
    if len(cron.split()) != FIELDS:
        problems.append(Problem("cron", f'"{cron}" wants {FIELDS} fields: minute hour day-of-month month day-of-week'))
        return problems
    try:
        next(CronSim(cron, datetime.now(UTC)))
    except CronSimError as error:
        problems.append(Problem("cron", f'"{cron}" cannot be read: {error}'))
    except StopIteration:
        problems.append(Problem("cron", f'"{cron}" never fires'))
    return problems


def next_fire(cron: str, timezone: str, after: datetime) -> datetime | None:
    """The first fire later than `after`, in UTC."""
    for fire in CronSim(cron, after.astimezone(ZoneInfo(timezone))):
        # In the hour that comes twice the simulation may begin with a fire of its first pass.
        if fire.astimezone(UTC) > after:
            return fire.astimezone(UTC)
    return None


def latest_fire(cron: str, timezone: str, moment: datetime) -> datetime | None:
    """The last fire up to and including `moment`, in UTC.

    Found backwards and then walked forwards, since only forwards the fires at a change of the clocks are exact.
    """
    # With a fraction of a second the simulation counts the whole second in, without one it begins before it.
    zone = ZoneInfo(timezone)
    backwards = CronSim(cron, moment.astimezone(zone).replace(microsecond=1), reverse=True)
    start = next(backwards, None)
    if start is None:
        return None
    before = start.astimezone(UTC) - (LARGEST_GAP if backwards.fixup_tz else timedelta(seconds=1))
    found = None
    for fire in CronSim(cron, before.astimezone(zone)):
        if fire.astimezone(UTC) > moment:
            return found
        found = fire.astimezone(UTC)
    return found


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # no such zone, a folder of zones, a path
        return False
    return True
