"""Times before lines of a log: the fifteen forms, as Go writes them."""

import time

import pytest

from arriero.supervisor.text.log_times import time_writer

# 2026-01-02 15:04:05.067001 UTC
T = 1767366245.067001

# What Go 1.24 writes of that moment, in a zone five hours behind.
WRITTEN = {
    "ansic": "Fri Jan  2 10:04:05 2026",
    "unixdate": "Fri Jan  2 10:04:05 EST 2026",
    "rubydate": "Fri Jan 02 10:04:05 -0500 2026",
    "rfc822": "02 Jan 26 10:04 EST",
    "rfc822z": "02 Jan 26 10:04 -0500",
    "rfc850": "Friday, 02-Jan-26 10:04:05 EST",
    "rfc1123": "Fri, 02 Jan 2026 10:04:05 EST",
    "rfc1123z": "Fri, 02 Jan 2026 10:04:05 -0500",
    "rfc3339": "2026-01-02T10:04:05-05:00",
    "rfc3339nano": "2026-01-02T10:04:05.067001-05:00",
    "kitchen": "10:04AM",
    "stamp": "Jan  2 10:04:05",
    "stampmilli": "Jan  2 10:04:05.067",
    "stampmicro": "Jan  2 10:04:05.067001",
    "stampnano": "Jan  2 10:04:05.067001000",
    "": "2026-01-02 10:04:05,067",
}


def test_every_form_is_as_go_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        assert {form: time_writer(form)(T) for form in WRITTEN} == WRITTEN
        assert time_writer("rfc3339nano")(1767366245 + 12 * 3600) == "2026-01-02T22:04:05-05:00"
        assert time_writer("kitchen")(1767366245 - 10 * 3600 + 0.9) == "12:04AM"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_utc_has_no_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert time_writer("rfc3339")(T + 3600) == "2026-01-02T16:04:05Z"
    finally:
        monkeypatch.undo()
        time.tzset()
