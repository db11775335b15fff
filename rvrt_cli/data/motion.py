"""Training clips from still photographs: a virtual camera and independently moving layers.

A frame is the photograph seen through a homography (pan, zoom, rotation, perspective), optionally bent by a smooth
elastic field, with layers cut from photographs by soft masks moving on top. Every frame is rendered on a grid twice
as fine and reduced by Matlab's antialiased bicubic, so a sub-pixel shift changes neither sharpness nor aliasing: what
differs between frames is the sampling position, which is exactly what a recurrent network can use.

All displacements are in pixels of the finished clip (GT pixels) per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rvrt_cli.errors import InputError
from rvrt_cli.imaging.resize import imresize_u8

_OVERSAMPLING = 2
_ELASTIC_WAVES = 3
_MASK_CELLS = 5
_LIVELY_GT_PX = 1.6
"""From this speed on, turns, zooms, shake and bending have their full strength."""


@dataclass(frozen=True)
class MotionSettings:
    """How clips move. Shares are probabilities.

    Measured with DIS flow, per frame at the size of the ground truth: hand-held sequences of DAVIS (854×480) move by 6 to
    11 px (median over pixels), Vimeo-90K by 6, a tenth of the pixels by 9 to 15. The defaults cover 1 to 13 px evenly on a
    logarithmic scale, because slow motion is where neighbours give the most detail.
    """

    static_share: float = 0.07
    """Clips (or backgrounds) that do not move at all."""
    fast_share: float = 0.08
    """Clips that pan by ``fast_gt_px`` per frame."""
    median_speed_gt_px: float = 3.5
    """Median speed of the other ones (log-normal)."""
    speed_spread: float = 1.0
    """Standard deviation of the logarithm of the speed."""
    max_speed_gt_px: float = 16.0
    fast_gt_px: tuple[float, float] = (12.0, 24.0)
    shake_share: float = 0.5
    """Clips with hand shake: a random walk on top of the steady motion."""
    shake_gt_px: float = 0.5
    rotation_degrees: float = 0.35
    """Standard deviation of the rotation per frame."""
    zoom: float = 0.006
    """Standard deviation of the logarithm of the zoom per frame."""
    perspective: float = 0.06
    """Standard deviation of the drift of the perspective term across the whole clip, relative to the patch."""
    elastic_share: float = 0.3
    elastic_gt_px: float = 2.0
    """Largest amplitude of the elastic field."""
    layers: tuple[float, ...] = (0.5, 0.35, 0.15)
    """Probabilities of 0, 1, 2, … moving layers."""
    photo_scale: tuple[float, float] = (1.1, 2.4)
    """Pixels of the photograph per GT pixel (log-uniform); above 1 the clip is as sharp as its grid allows."""
    detail_candidates: int = 2
    """Places tried in a photograph; the one with the most detail is taken, because smooth sky teaches little."""


@dataclass(frozen=True)
class _Path:
    """The way of one layer or of the camera through a clip."""

    matrices: np.ndarray
    """(t, 3, 3) float64: GT pixels (relative to the patch centre) to reference pixels of the same size."""
    waves: np.ndarray | None
    """(t, 2, _ELASTIC_WAVES, _ELASTIC_WAVES) float32 amplitudes in GT pixels of x and y displacement waves."""

    @property
    def moves(self) -> bool:
        return self.waves is not None or bool((self.matrices != self.matrices[0]).any())


def _pick_speed(rng: np.random.Generator, settings: MotionSettings) -> float:
    kind = rng.random()
    steady = settings.median_speed_gt_px * float(np.exp(settings.speed_spread * rng.standard_normal()))
    fast = float(rng.uniform(*settings.fast_gt_px))
    if kind < settings.static_share:
        return 0.0
    if kind < settings.static_share + settings.fast_share:
        return fast
    return min(steady, settings.max_speed_gt_px)


def _plan_path(rng: np.random.Generator, frames: int, size_px: int, settings: MotionSettings) -> _Path:
    """A smooth random path; the middle frame is near the identity, so the clip stays around its anchor."""
    time = np.arange(frames) - (frames - 1) / 2.0
    speed = _pick_speed(rng, settings)
    direction = rng.uniform(0.0, 2.0 * np.pi)
    acceleration = 0.08 * speed * rng.standard_normal(2)
    steps = settings.shake_gt_px * rng.standard_normal((frames, 2)) * (rng.random() < settings.shake_share)
    angle = np.deg2rad(rng.normal(0.0, 4.0) + rng.normal(0.0, settings.rotation_degrees) * time)
    zoom = np.exp(rng.normal(0.0, settings.zoom) * time)
    tilt = rng.normal(0.0, settings.perspective, (2, 2)) / size_px  # x and y; constant and drifting part
    elastic = rng.random() < settings.elastic_share
    amplitude = rng.uniform(0.2, 1.0) * settings.elastic_gt_px
    phase = rng.uniform(0.0, 2.0 * np.pi, (2, _ELASTIC_WAVES, _ELASTIC_WAVES))
    rate = rng.normal(0.0, 0.5, (2, _ELASTIC_WAVES, _ELASTIC_WAVES))
    weight = rng.standard_normal((2, _ELASTIC_WAVES, _ELASTIC_WAVES))

    if speed == 0.0:
        return _Path(np.repeat(np.eye(3)[None], frames, axis=0), None)
    # Motions other than the pan fade out with it: a clip that hardly moves hardly turns.
    calm = min(1.0, speed / _LIVELY_GT_PX)
    shift = np.outer(time, speed * np.array([np.cos(direction), np.sin(direction)]))
    shift += 0.5 * np.outer(time**2, acceleration) / max(1.0, frames / 6.0)
    shift += calm * np.cumsum(steps, axis=0)
    matrices = np.zeros((frames, 3, 3))
    matrices[:, 0, 0] = zoom * np.cos(angle)
    matrices[:, 0, 1] = -zoom * np.sin(angle)
    matrices[:, 1, 0] = zoom * np.sin(angle)
    matrices[:, 1, 1] = zoom * np.cos(angle)
    matrices[:, :2, 2] = shift
    matrices[:, 2, :2] = calm * (tilt[0] + np.outer(time / frames, tilt[1]))
    matrices[:, 2, 2] = 1.0
    waves = None
    if elastic:
        decay = 1.0 / (1.0 + np.arange(_ELASTIC_WAVES))
        scale = calm * amplitude * weight * decay[:, None] * decay[None, :]
        waves = (scale * np.sin(phase + rate * time[:, None, None, None])).astype(np.float32)
    return _Path(matrices, waves)


class _Grid:
    """The oversampled pixel grid of a patch, relative to its centre, in GT pixels."""

    def __init__(self, height: int, width: int) -> None:
        self.x = self._axis(width)
        self.y = self._axis(height)
        # Slow cosine waves across the patch for the elastic field: (pixels, waves).
        self.wave_x = self._waves(width)
        self.wave_y = self._waves(height)
        self.corners = np.array([(x, y, 1.0) for x in self.x[[0, -1]] for y in self.y[[0, -1]]]).T

    @staticmethod
    def _axis(size: int) -> np.ndarray:
        count = size * _OVERSAMPLING
        return ((np.arange(count) + 0.5) / _OVERSAMPLING - size / 2.0).astype(np.float32)

    @staticmethod
    def _waves(size: int) -> np.ndarray:
        count = size * _OVERSAMPLING
        position = (np.arange(count) + 0.5) / count
        return np.cos(np.pi * position[:, None] * np.arange(_ELASTIC_WAVES)[None, :]).astype(np.float32)

    def reference_positions(self, path: _Path, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each grid pixel of ``frame`` lies on the reference patch: two (h, w) float32 maps."""
        m = path.matrices[frame].astype(np.float32)
        x, y = self.x[None, :], self.y[:, None]
        depth = m[2, 0] * x + (m[2, 1] * y + 1.0)
        map_x = (m[0, 0] * x + (m[0, 1] * y + m[0, 2])) / depth
        map_y = (m[1, 0] * x + (m[1, 1] * y + m[1, 2])) / depth
        if path.waves is not None:
            map_x += self.wave_y @ path.waves[frame, 0] @ self.wave_x.T
            map_y += self.wave_y @ path.waves[frame, 1] @ self.wave_x.T
        return map_x, map_y

    def reach(self, path: _Path) -> tuple[np.ndarray, np.ndarray]:
        """The box (min, max) as (x, y) in reference pixels that the path sees over the whole clip."""
        points = path.matrices @ self.corners
        points = points[:, :2] / points[:, 2:]
        bend = 0.0 if path.waves is None else float(np.abs(path.waves).sum(axis=(2, 3)).max())
        return points.min(axis=(0, 2)) - bend, points.max(axis=(0, 2)) + bend


def _pick_anchor(
    rng: np.random.Generator,
    photo: np.ndarray,
    reach: tuple[np.ndarray, np.ndarray],
    settings: MotionSettings,
) -> tuple[float, np.ndarray]:
    """Photo pixels per GT pixel and the (x, y) of the patch centre such that the path stays inside the photo if it can."""
    low, high = reach
    size = np.array([photo.shape[1], photo.shape[0]], dtype=np.float64)
    fits = float(np.min((size - 1.0) / (high - low)))
    largest = max(1.0, min(settings.photo_scale[1], fits))
    smallest = min(settings.photo_scale[0], largest)
    scale = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    first, last = -low * scale, size - 1.0 - high * scale
    # Where the path is longer than the photo, centre it: the border is mirrored.
    middle = (size - 1.0 - (low + high) * scale) / 2.0
    first, last = np.where(first <= last, first, middle), np.where(first <= last, last, middle)
    candidates = rng.uniform(first, last, (max(1, settings.detail_candidates), 2))
    details = [_detail(photo, place + low * scale, place + high * scale) for place in candidates]
    return scale, candidates[int(np.argmax(details))]


def _detail(photo: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Mean step between neighbouring green samples in the box from ``low`` to ``high`` (x, y)."""
    left, top = np.maximum(low, 0).astype(int)
    right, bottom = np.maximum(high, 0).astype(int) + 2
    green = photo[top:bottom:2, left:right, 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=1)).mean())


class _View:
    """What one path sees of a photograph.

    The region it passes is enlarged twice by cubic interpolation once per clip; frames then sample it linearly, which
    comes close to cubic sampling of the photograph in a quarter of the time.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        photo: np.ndarray,
        reach: tuple[np.ndarray, np.ndarray],
        settings: MotionSettings,
    ) -> None:
        import cv2

        scale, anchor = _pick_anchor(rng, photo, reach, settings)
        h, w = photo.shape[:2]
        left, top = np.clip(np.floor(anchor + reach[0] * scale) - 3, 0, (w - 1, h - 1)).astype(int)
        right, bottom = np.clip(np.ceil(anchor + reach[1] * scale) + 4, 1, (w, h)).astype(int)
        region = photo[top : max(bottom, top + 1), left : max(right, left + 1)]
        self.region = cv2.resize(region, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        self.scale = np.float32(2.0 * scale)
        # Pixel centres: x of the photo lies at 2 x + 1/2 of its enlargement.
        self.origin = (2.0 * (anchor - (left, top)) + 0.5).astype(np.float32)

    def render(self, map_x: np.ndarray, map_y: np.ndarray) -> np.ndarray:
        """The photograph at the given reference positions: (h, w, 3) uint8."""
        import cv2

        return cv2.remap(
            self.region,
            map_x * self.scale + self.origin[0],
            map_y * self.scale + self.origin[1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )


def _draw_mask(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random region with a soft edge on twice the patch: (2h, 2w) float32 in [0, 1]; about 40 % is covered."""
    import cv2

    coarse = rng.standard_normal((_MASK_CELLS, _MASK_CELLS)).astype(np.float32)
    level = rng.uniform(0.0, 0.5)
    edge_px = rng.uniform(0.8, 3.0)
    field = cv2.resize(coarse, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    cell_px = 2.0 * min(height, width) / _MASK_CELLS
    return np.clip(0.5 + (field - level) * (cell_px / edge_px), 0.0, 1.0)


def synthesize_clip(
    photos: Sequence[np.ndarray],
    rng: np.random.Generator,
    frames: int,
    height: int,
    width: int,
    settings: MotionSettings | None = None,
) -> np.ndarray:
    """Make a clip of ``frames`` moving frames from photographs.

    ``photos``: (h, w, 3) uint8; the first is the background, moving layers are cut from the others in turn (from the
    first when it is the only one). The result, (frames, height, width, 3) uint8, depends on the photographs and the
    state of ``rng`` alone.

    Errors: :class:`InputError` for a photograph smaller than the patch.
    """
    import cv2

    settings = settings or MotionSettings()
    for photo in photos:
        if photo.shape[0] < height or photo.shape[1] < width:
            raise InputError(
                f"A photograph of {photo.shape[1]}×{photo.shape[0]} pixels is smaller than the {width}×{height} patch; "
                "use larger photographs or a smaller patch."
            )
    grid = _Grid(height, width)
    camera = _plan_path(rng, frames, max(height, width), settings)
    view = _View(rng, photos[0], grid.reach(camera), settings)
    background = [
        view.render(*grid.reference_positions(camera, frame))
        for frame in (range(frames) if camera.moves else range(1))
    ]
    canvas = [background[frame % len(background)] for frame in range(frames)]

    for index in range(int(rng.choice(len(settings.layers), p=settings.layers))):
        photo = photos[(index + 1) % len(photos)]
        path = _plan_path(rng, frames, max(height, width), settings)
        view = _View(rng, photo, grid.reach(path), settings)
        mask = _draw_mask(rng, height, width)
        for frame in range(frames):
            map_x, map_y = grid.reference_positions(path, frame)
            layer = view.render(map_x, map_y)
            alpha = cv2.remap(
                mask,
                map_x + np.float32(width - 0.5),
                map_y + np.float32(height - 0.5),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            canvas[frame] = cv2.blendLinear(layer, canvas[frame], alpha, 1.0 - alpha)
    if all(image is canvas[0] for image in canvas):
        return np.repeat(imresize_u8(canvas[0], 1.0 / _OVERSAMPLING)[None], frames, axis=0)
    return imresize_u8(np.stack(canvas), 1.0 / _OVERSAMPLING)
