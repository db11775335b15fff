"""A film as data: segments, each of which says by itself what its file holds, and the state in which planning goes on.

A segment is everything that decides its bytes, together with the source and the weights that its fingerprints name. It
depends on no other segment, so that it can be rendered by any process, in any order, any number of times. Segments and
states are written to the journal as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rvrt_cli.errors import UsageError

CLIP = 2
"""Frames that RVRT updates together. They are paired from the first frame of a run, so runs keep the parity of their shot."""

SEEK_MARGIN = 3
"""Frames between a key frame and the first one that is needed: the deinterlacer looks at those before."""


@dataclass(frozen=True)
class SeekPoint:
    """A key frame: its index among the frames of the run, and its timestamp in the stream's time base."""

    index: int
    pts: int


@dataclass(frozen=True)
class Segment:
    """Frames ``start`` to ``stop`` (exclusive) of a run, rendered into one file.

    ``lead`` and ``lookahead``: how many frames before and after, of the same shots, the model sees besides. ``cuts``: the
    frames in [start, stop) that begin a shot. ``first_pts``: timestamp of frame ``start``. ``seek``: where to begin to decode;
    None for the beginning. ``window``: frames of one backward pass, ``overlap``: frames that it sees beyond them;
    ``tile_px`` None: whole pictures. ``fallback``: which of the run's restorers, the first until memory ran out with it;
    ``model`` and ``encoder``: fingerprints of it (weights, engine, precision) and of the encoder's settings.
    """

    index: int
    start: int
    stop: int
    lead: int
    lookahead: int
    cuts: tuple[int, ...]
    first_pts: int
    seek: SeekPoint | None
    window: int
    overlap: int
    tile_px: int | None
    tile_overlap_px: int
    fallback: int
    model: str
    encoder: str

    @property
    def frames(self) -> int:
        """How many pictures its file holds."""
        return self.stop - self.start

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of the frames of each shot that are given to the model in one go, context included."""
        edges = [self.start - self.lead, *(cut for cut in self.cuts if cut > self.start - self.lead)]
        return tuple(zip(edges, [*edges[1:], self.stop + self.lookahead], strict=True))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Segment:
        """The segment of :meth:`to_json`. Errors: TypeError for other fields."""
        seek = values.get("seek")
        known = {**values, "cuts": tuple(values.get("cuts", ())), "seek": SeekPoint(**seek) if seek else None}
        return cls(**known)


@dataclass(frozen=True)
class PlannerState:
    """Where planning stands between two segments; planning on from here gives what it would have given without a pause.

    ``index`` and ``start``: of the next segment. ``shot_start``: of the shot of the frame before ``start``. ``decided``: of the
    frames before it the cuts are known; ``cuts``: those from ``start`` on. ``first``: the earliest frame that is needed again, and
    ``seen``: (timestamp, check sum of the picture) of it and the frames after it before ``decided``, by which a continued run knows
    that it decodes the same frames. ``keys``: key frames from which that is possible, or will be for later segments.
    """

    index: int = 0
    start: int = 0
    shot_start: int = 0
    decided: int = 0
    cuts: tuple[int, ...] = ()
    first: int = 0
    seen: tuple[tuple[int, int], ...] = ()
    keys: tuple[SeekPoint, ...] = ()

    @property
    def seek(self) -> SeekPoint | None:
        """Where to begin to decode; None for the beginning."""
        return self.keys[0] if self.keys and self.keys[0].index <= self.first - SEEK_MARGIN else None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PlannerState:
        """The state of :meth:`to_json`. Errors: TypeError for other fields."""
        return cls(
            **{
                **values,
                "cuts": tuple(values.get("cuts", ())),
                "seen": tuple((pts, check) for pts, check in values.get("seen", ())),
                "keys": tuple(SeekPoint(**key) for key in values.get("keys", ())),
            }
        )


def check_window(size: int, overlap: int) -> None:
    """Raise :class:`UsageError` unless the window and its overlap are possible."""
    if size < CLIP or size % CLIP:
        raise UsageError(
            f"--window must be an even number of at least {CLIP}, because RVRT updates frames in pairs; got {size}."
        )
    if overlap < 0 or overlap % CLIP or overlap > size // 2:
        raise UsageError(f"--overlap must be even and at most half of --window ({size}); got {overlap}.")
