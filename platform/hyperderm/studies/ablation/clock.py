"""Times of day: when a grid starts and by when it has to be over."""

import re
from datetime import datetime, timedelta

from hyperderm.errors import ConfigError


def next_time(option: str, text: str, after: datetime) -> datetime:
    """Return the next time the local clock shows `text` (HH:MM), strictly after `after`.

    Raises:
        ConfigError: no time of day.
    """
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        raise ConfigError(f"{option} {text!r} is no time of day", f"Write {option} 22:00.")
    found = after.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return found if found > after else found + timedelta(days=1)
