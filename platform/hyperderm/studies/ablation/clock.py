"""Times of day: when a grid starts and by when it has to be over."""

import re
from datetime import datetime, timedelta

from hyperderm.errors import ConfigError


def next_time(option: str, text: str, after: datetime) -> datetime:
    """Return the next time this machine's clock shows `text` (HH:MM), strictly after `after`; a whole date stays as it is.

    A night in which the clocks change is an hour shorter or longer; of an hour that comes twice the first counts.

    Raises:
        ConfigError: no time of day.
    """
    if "T" in text:  # a detached driver is told the time that was meant when the command was given
        try:
            return datetime.fromisoformat(text).astimezone()
        except ValueError:
            raise ConfigError(f"{option} {text!r} is no time", f"Write {option} 22:00.") from None
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        raise ConfigError(f"{option} {text!r} is no time of day", f"Write {option} 22:00.")
    shown = after.astimezone().replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0, tzinfo=None)
    found = shown.astimezone()
    return found if found > after else (shown + timedelta(days=1)).astimezone()
