"""How the time stands before a line of a log: llama-swap's names for it, which are Go's.

Times are local ones. Source of the forms: pkg.go.dev/time, "Constants".
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
)  # fmt: skip

# Each form, with places for what `_parts` gives: strftime would go by the locale.
_FORMS: Final[Mapping[str, str]] = {
    "": "{year}-{month:02}-{day:02} {time},{milli}",
    "ansic": "{weekday:.3} {name} {day:2} {time} {year}",
    "unixdate": "{weekday:.3} {name} {day:2} {time} {zone} {year}",
    "rubydate": "{weekday:.3} {name} {day:02} {time} {offset} {year}",
    "rfc822": "{day:02} {name} {short_year:02} {time:.5} {zone}",
    "rfc822z": "{day:02} {name} {short_year:02} {time:.5} {offset}",
    "rfc850": "{weekday}, {day:02}-{name}-{short_year:02} {time} {zone}",
    "rfc1123": "{weekday:.3}, {day:02} {name} {year} {time} {zone}",
    "rfc1123z": "{weekday:.3}, {day:02} {name} {year} {time} {offset}",
    "rfc3339": "{year}-{month:02}-{day:02}T{time}{colon_offset}",
    "rfc3339nano": "{year}-{month:02}-{day:02}T{time}{fraction}{colon_offset}",
    "kitchen": "{hour12}:{minute:02}{half}",
    "stamp": "{name} {day:2} {time}",
    "stampmilli": "{name} {day:2} {time}.{milli}",
    "stampmicro": "{name} {day:2} {time}.{micro}",
    "stampnano": "{name} {day:2} {time}.{micro}000",
}


def time_writer(form: str) -> Callable[[float], str]:
    """Return what writes Unix times in a form.

    Args:
        form: Its name in ``logTimeFormat``; empty for that of this program.
    """
    written = _FORMS[form]
    return lambda t: written.format_map(_parts(t))


def _parts(t: float) -> dict[str, object]:
    seconds, micros = divmod(round(t * 1_000_000), 1_000_000)
    micro = f"{micros:06}"
    fraction = micro.rstrip("0")
    return _of_second(seconds) | {
        "milli": micro[:3],
        "micro": micro,
        "fraction": f".{fraction}" if fraction else "",
    }


@lru_cache(maxsize=2)
def _of_second(seconds: int) -> dict[str, object]:
    at = time.localtime(seconds)
    ahead = at.tm_gmtoff // 60
    sign = "-" if ahead < 0 else "+"
    hours, minutes = divmod(abs(ahead), 60)
    return {
        "year": f"{at.tm_year:04}",
        "short_year": at.tm_year % 100,
        "month": at.tm_mon,
        "name": _MONTHS[at.tm_mon - 1],
        "day": at.tm_mday,
        "weekday": _DAYS[at.tm_wday],
        "time": f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}",
        "hour12": at.tm_hour % 12 or 12,
        "minute": at.tm_min,
        "half": "AM" if at.tm_hour < 12 else "PM",
        "zone": at.tm_zone,
        "offset": f"{sign}{hours:02}{minutes:02}",
        "colon_offset": f"{sign}{hours:02}:{minutes:02}" if ahead else "Z",
    }
