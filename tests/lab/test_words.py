"""Numbers in words; also those out of a broken file."""

import math
import time

import pytest

from lab.words import age, clock, duration, short, size, sparkline

ODD = (math.nan, math.inf, -math.inf, -5.0, 1e18, -1e18, 1e300, 0.0)


def test_as_people_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [duration(s) for s in (None, 0, 65, 7384.4, -3.0)] == ["-", "0:00", "1:05", "2:03:04", "0:00"]
    assert [age(s) for s in (0, 0.2, 12, 2300, 33_000, 300_000)] == ["", "0s", "12s", "38m", "9h", "3d"]
    assert [short(n) for n in (0, 7, 1234, 12_345, 1_234_567, 3e12)] == ["", "7", "1.2K", "12K", "1.2M", "3.0T"]
    assert [size(n) for n in (0, 2_500_000, 7e10)] == ["0 bytes", "2.5 MB", "70 GB"]
    with monkeypatch.context() as here:
        here.setenv("TZ", "UTC")
        time.tzset()
        assert (clock(66_360, 66_360), clock(66_360, 1e6)) == ("18:26", "Thu 18:26")
    time.tzset()


def test_bars() -> None:
    assert sparkline([]) == ""
    assert sparkline([1, 2, 3]) == "▁▅█"
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert len(sparkline([float(i) for i in range(95)], 40)) <= 40
    assert sparkline([1, math.nan, 2, math.inf]) == "▁█"


@pytest.mark.parametrize("value", ODD)
def test_nonsense_is_said_and_not_raised(value: float) -> None:
    for said in (duration(value), age(value), short(value), size(value), clock(value, 0.0), sparkline([value, 1.0])):
        assert isinstance(said, str)
