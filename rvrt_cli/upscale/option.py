"""How an option is declared: once, at its field of :class:`rvrt_cli.upscale.options.UpscaleOptions`.

The command line is made from these declarations (:mod:`rvrt_cli.cli.upscale_options`), and so are the checks of ranges and the
names that the Python interface knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from rvrt_cli.errors import UsageError

MODEL = "Model and machine"
PICTURE = "Picture"
ENCODING = "Encoding"
RANGE = "Which frames"
MEMORY = "Windows, tiles and memory"
RUN = "The run"

T = TypeVar("T")
_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What the command line says about an option, and the range of its number.

    ``panel``: the part of the help it stands in. ``flag`` None: made from the field's name. ``high`` None: no upper limit.
    ``is_time``: the command line takes 1:02.5 for a number of seconds. ``decides_bytes``: another value gives another film.
    """

    panel: str
    help: str
    metavar: str | None = None
    flag: str | None = None
    short: str | None = None
    low: float | None = None
    high: float | None = None
    is_time: bool = False
    decides_bytes: bool = True

    def check(self, name: str, value: float | None) -> None:
        """Raise :class:`UsageError` for a number out of the range of the option of this field ``name``; None is none."""
        if value is None or self.low is None:
            return
        flag = self.flag or flag_of(name)
        if self.high is None:
            if not value >= self.low:
                raise UsageError(f"{flag} must be at least {self.low:g}; got {value:g}.")
        elif not self.low <= value <= self.high:
            raise UsageError(f"{flag} must lie between {self.low:g} and {self.high:g}; got {value:g}.")


def option(default: T, panel: str, help: str, metavar: str | None = None, **settings: Any) -> T:
    """A dataclass field with a default and an :class:`Option`; to a type checker it is its default, as ``field`` is."""
    declared: Any = field(default=default, metadata={_KEY: Option(panel, help, metavar, **settings)})
    return declared


def declared_options(options: Any) -> Mapping[str, tuple[Field[Any], Option]]:
    """Name → field and declaration of every option of a dataclass (or an instance), in the order of the help."""
    return {found.name: (found, found.metadata[_KEY]) for found in fields(options)}


def flag_of(name: str) -> str:
    """``segment_frames`` → ``--segment-frames``."""
    return "--" + name.replace("_", "-")
