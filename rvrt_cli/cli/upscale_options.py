"""Parameters of a command made from the declarations of :class:`rvrt_cli.upscale.options.UpscaleOptions`."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from rvrt_cli.errors import UsageError
from rvrt_cli.upscale.option import Option, declared_options, flag_of
from rvrt_cli.upscale.options import UpscaleOptions


def typer_option(name: str) -> Any:
    """Typer's description of the option of this name, which several commands may have."""
    field, declared = declared_options(UpscaleOptions)[name]
    flag = declared.flag or flag_of(name)
    if field.default is True:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    short = [declared.short] if declared.short else []
    return typer.Option(
        flag, *short, metavar=declared.metavar, help=declared.help, rich_help_panel=declared.panel
    )


def upscale_parameters() -> dict[str, inspect.Parameter]:
    """Name → parameter, as Typer reads it from a signature, of every option, in the order of the help."""
    hints = typing.get_type_hints(UpscaleOptions)
    return {
        name: inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[_typed(hints[name], declared), typer_option(name)],
        )
        for name, (field, declared) in declared_options(UpscaleOptions).items()
    }


def _typed(hint: Any, declared: Option) -> Any:
    """The type that Typer checks: times are text, and so are choices, whose messages are those of ``UpscaleOptions.check``."""
    kinds = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    if declared.is_time or any(typing.get_origin(kind) is Literal for kind in kinds):
        return str | None if type(None) in kinds else str
    return hint


def read_options(given: Mapping[str, Any]) -> UpscaleOptions:
    """The options that the command line gave, by name. Errors: :class:`UsageError` for what is not a time."""
    options = dict(given)
    for name, (_, declared) in declared_options(UpscaleOptions).items():
        if declared.is_time:
            options[name] = parse_time(declared.flag or flag_of(name), options[name])
    return UpscaleOptions(**options)


def parse_time(option: str, text: str | None) -> float | None:
    """Seconds of ``12.5``, ``1:02.5`` or ``1:00:02``."""
    if text is None:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if (
        not 1 <= len(parts) <= 3
        or any(part < 0 or not math.isfinite(part) for part in parts)
        or any(part >= 60 for part in parts[1:])
    ):
        raise UsageError(f"{option} must be a time such as 12.5, 1:02.5 or 1:00:02; got {text!r}.")
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + part
    return seconds
