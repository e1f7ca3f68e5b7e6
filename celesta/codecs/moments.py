"""Moments in time zones with a name: ISO 8601 with the name behind it, `2024-03-09T12:00:00-05:00[America/New_York]`.

Called by the codecs of this package. The wall clock and the name make the moment, as they do in Python; the offset says
which of two equal wall clocks is meant when clocks are set back. Refuses zones that have no name to be found again by.
"""

import datetime as dt
import re
import sys

_ZONED = re.compile(r"(.+?)\[([A-Za-z0-9_+./-]+)\]")


def zone_of(moment: dt.datetime) -> str | None:
    """The name of the moment's zone; None: it has none, or is in UTC, which is told by its offset.

    Raises `ValueError` for a zone of `zoneinfo` without a name.
    """
    zoneinfo = sys.modules.get("zoneinfo")
    if zoneinfo is None or not isinstance(moment.tzinfo, zoneinfo.ZoneInfo):
        return None
    key = moment.tzinfo.key
    if key is None:
        raise ValueError("a moment in a zone without a name cannot be stored; use ZoneInfo(name)")
    return None if key == "UTC" else str(key)


def spelled(moment: dt.datetime, zone: str) -> str:
    """The moment as text."""
    return f"{moment.isoformat()}[{zone}]"


def split(text: str) -> tuple[dt.datetime, str]:
    """The moment with its offset, and the name of its zone. Raises `ValueError` for text of another form."""
    found = _ZONED.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.80} is no moment in a zone")
    return dt.datetime.fromisoformat(found[1]), found[2]


def moment_of(text: str) -> dt.datetime:
    """The moment in its zone. Raises `ValueError` for text of another form, and where the zone is not known."""
    told, name = split(text)
    from zoneinfo import ZoneInfo  # not in every step process

    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"the time zone {name} is not known here; install the package tzdata") from None
    first, second = (told.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return second if second.utcoffset() == told.utcoffset() != first.utcoffset() else first
