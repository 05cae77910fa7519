"""How work is stopped before its end: times, signals, and the exit code that says so."""

import signal
import time

import pytest

from electra.errors import UserError
from electra.stopping import STOP_SIGNALS, Stopped, find_deadline, parse_duration, raise_stop_signals


@pytest.mark.parametrize(
    ("text", "seconds"), [("2.8h", 10080), ("90m", 5400), ("3600s", 3600), ("1h30m", 5400), ("1d", 86400), (".5s", 0.5)]
)
def test_a_time_has_units(text: str, seconds: float) -> None:
    assert parse_duration(text, "--stop-after") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "3", "2,8h", "2.8 h", "0h", "-1h", "h", "1.2.3h", "30m1h", "nan", "9" * 400 + "h", "٣h", "1H", "1h\n"]
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(UserError, match=r"--stop-after: expected a time with its unit, as 2.8h, .* found '"):
        parse_duration(text, "--stop-after")


def test_a_deadline_is_counted_from_now() -> None:
    assert find_deadline("") == float("inf")
    assert 3590 < find_deadline("1h") - time.monotonic() <= 3600


def test_signals_raise_where_nothing_waits_for_them() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    for number in STOP_SIGNALS:
        with pytest.raises(Stopped), raise_stop_signals():
            signal.raise_signal(number)
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
