"""SMPTE timecodes ("01:00:00:00", with a semicolon where frame numbers are dropped to stay with the clock)."""

from __future__ import annotations

import re
from fractions import Fraction

# SMPTE ST 12-1: at 30000/1001 frames a second two numbers are left out in every minute that is no multiple of ten.
DROPPED_OF_30 = 2


def later_timecode(text: str, rate: Fraction, frames: int) -> str | None:
    """The timecode ``frames`` frames after ``text``, at ``rate`` a second; None for what is no timecode at this rate."""
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)", text.strip())
    if match is None:
        return None
    per_second = round(rate)
    drops = match[4] != ":"
    hours, minutes, seconds, number = (int(match[i]) for i in (1, 2, 3, 5))
    if per_second < 1 or number >= per_second or (drops and per_second % 30):
        return None
    dropped = DROPPED_OF_30 * per_second // 30 if drops else 0
    total_minutes = hours * 60 + minutes
    count = (total_minutes * 60 + seconds) * per_second + number
    count += frames - dropped * (total_minutes - total_minutes // 10)
    ten_minutes = 600 * per_second - 9 * dropped
    tens, rest = divmod(count % (144 * ten_minutes), ten_minutes)
    if dropped and rest >= 60 * per_second:
        rest += dropped * (1 + (rest - 60 * per_second) // (60 * per_second - dropped))
    count = tens * 600 * per_second + rest
    seconds, number = divmod(count, per_second)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{match[4]}{number:02d}"
