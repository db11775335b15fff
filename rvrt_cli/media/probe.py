"""Find out what an input is, in bounded time, before anything is promised about it."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av

from rvrt_cli.errors import InputError, RvrtError
from rvrt_cli.media.aspects import ShapeSurvey, in_one_shape
from rvrt_cli.media.av_errors import LIBRARY_ERRORS, translate_av_errors, translate_read_errors
from rvrt_cli.media.clock import ARBITRARY_START, measure_clock
from rvrt_cli.media.color import nearest_planar_name, planar_format
from rvrt_cli.media.ffmpeg import list_streams
from rvrt_cli.media.heif import read_heif
from rvrt_cli.media.open_file import PROBE_TIMEOUT_S, check_regular_file, open_container, open_decoder
from rvrt_cli.media.pages import holds_film
from rvrt_cli.media.side_data import display_matrix, side_data
from rvrt_cli.media.source import (
    NO_CROP,
    Chapter,
    ChromaLocation,
    ColorTags,
    Crop,
    HdrMetadata,
    Source,
    Stream,
    StreamKind,
    VideoStream,
    stated_range,
)
from rvrt_cli.system.suffixes import IMAGE_SUFFIXES

MAX_PIXELS = 1 << 28
PACKETS_TO_FIRST_FRAME = 2000
# AVFMT_NOTIMESTAMPS (libavformat/avformat.h): raw streams, whose demuxers make times up. MPEG-2's parser counts repeated fields.
NO_TIMESTAMPS = 0x80
TIMED_BY_PARSER = frozenset({"mpegvideo"})
FRAMES_PROBED = 12
BOX_BYTES_READ = 1 << 26
# What FFmpeg gives the still pictures of a HEIF file, which are streams like its film.
HEIF_STILL_TIME_BASE = Fraction(1)
PROFILE_NAMING_DECODERS = frozenset({"png", "apng"})
# What hangs on coded pictures (PyAV's names) or on the stream (ffmpeg's names) and is lost when they are made anew.
FRAME_EXTRAS = {
    "A53_CC": "closed captions inside the pictures",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "STEREO3D": "the mark of a stereoscopic picture",
    "SPHERICAL": "the mark of a spherical picture",
}
STREAM_EXTRAS = {"dovi": "Dolby Vision", "spherical": "the mark of a spherical picture"}
# Code points of H.273 that say nothing about primaries and transfer: 0 and 3 are reserved (0 is forbidden in MPEG-2).
UNSPECIFIED = 2
RESERVED = (0, UNSPECIFIED, 3)
_LOCATIONS = frozenset({"left", "center", "topleft", "top", "bottomleft", "bottom"})


def probe(path: Path | str, *, video_stream: int | None = None, fps: Fraction | None = None) -> Source:
    """Probe a video file, an image sequence (folder or ``%05d`` pattern) or y4m on standard input (``"-"``).

    video_stream: index of the stream to upscale; the default is the one ffmpeg would pick.
    fps: frame rate of an image sequence (default 24); ignored for the others.
    Errors: :class:`InputError` with one sentence for everything that cannot be upscaled.
    """
    if str(path) == "-":
        from rvrt_cli.media.y4m import probe_y4m

        return probe_y4m()
    path = Path(path)
    with translate_read_errors(path):
        return _probe_path(path, video_stream, fps)


def _probe_path(path: Path, video_stream: int | None, fps: Fraction | None) -> Source:
    from rvrt_cli.media.images import probe_images

    if path.is_dir() or (path.suffix.lower() in IMAGE_SUFFIXES and not path.is_file()):
        return probe_images(path, fps)
    check_regular_file(path)
    heif = read_heif(path)
    if (path.suffix.lower() in IMAGE_SUFFIXES or heif is not None) and not holds_film(path):
        return probe_images(path, fps)
    with translate_av_errors(path), open_container(path) as container:
        source = _probe_container(path, container, video_stream)
    return _with_one_clock(source) if source.format in ARBITRARY_START else source


def _with_one_clock(source: Source) -> Source:
    """``source`` with the number of jumps of its clock, its length without them, and its shapes; reads the whole file."""
    shapes = ShapeSurvey(source.video.codec)

    def see(packet: av.Packet) -> None:
        if packet.stream_index == source.video.index:
            shapes.see(packet)

    with translate_av_errors(source.path), open_container(source.path) as container:
        jumps, end_s = measure_clock(container, see)
    source = replace(source, shapes=tuple(shapes.runs))
    if not jumps or end_s is None:
        return in_one_shape(source)
    duration_s = max(end_s - source.start_s, 0.0)
    places = "one place" if jumps == 1 else f"{jumps} places"
    joined = replace(
        source,
        clock_jumps=jumps,
        duration_s=duration_s,
        video=replace(source.video, duration_s=duration_s),
        notes=(
            *source.notes,
            f"The film's timestamps start anew at {places}, as in joined recordings; the pieces follow one another "
            "in the output.",
        ),
    )
    return in_one_shape(joined)


def _seconds(ticks: int | None, time_base: Fraction | None) -> float | None:
    return None if ticks is None or time_base is None else float(ticks * time_base)


def _is_cover(stream: Any) -> bool:
    return "attached_pic" in _disposition(stream)


def _disposition(stream: Any) -> frozenset[str]:
    return frozenset(
        flag.name for flag in type(stream.disposition) if flag in stream.disposition and flag.value
    )


def codec_name(stream: Any) -> str:
    """The coded format of a stream, "unknown" where FFmpeg does not know it."""
    context = stream.codec_context
    return str(
        stream.metadata.get("mimetype", "unknown") if context is None else context.codec.canonical_name
    )


def _describe_stream(stream: Any, listed: list[str]) -> Stream:
    """``listed``: ffmpeg's lines about the stream (:func:`_listing`)."""
    kind = cast(
        StreamKind, stream.type if stream.type in ("video", "audio", "subtitle", "attachment") else "data"
    )
    time_base = stream.time_base or Fraction(1, 1000)
    return Stream(
        index=stream.index,
        kind=kind,
        codec=_data_name(listed) or codec_name(stream) if kind == "data" else codec_name(stream),
        time_base=time_base,
        start_s=_seconds(stream.start_time, time_base),
        duration_s=_seconds(stream.duration, time_base),
        language=_language(stream.metadata),
        disposition=_disposition(stream),
        metadata=tuple(sorted(stream.metadata.items())),
        delay_s=_codec_delay_s(listed),
    )


def _language(metadata: Mapping[str, str]) -> str | None:
    """The language of a stream, whose key some programs write in capitals."""
    return next((value for key, value in metadata.items() if key.lower() == "language"), None)


def _choose_video(path: Path, container: av.container.InputContainer, wanted: int | None) -> av.VideoStream:
    films = [s for s in container.streams.video if not _is_cover(s)]
    if wanted is not None:
        chosen = next((s for s in films if s.index == wanted), None)
        if chosen is None:
            raise InputError(
                f"{path} has no video in stream {wanted}; its video streams are {[s.index for s in films] or 'none'}."
            )
        return chosen
    if not films:
        covers = len(container.streams.video)
        sound = len(container.streams.audio)
        what = (
            "sound and a cover picture"
            if covers and sound
            else "a cover picture"
            if covers
            else "sound"
            if sound
            else "no video"
        )
        raise InputError(
            f"{path} holds only {what}, no film to upscale."
            if what != "no video"
            else f"{path} holds no video stream."
        )
    if read_heif(path) is not None:  # the film comes before its transparency, which may have more bits
        return next((s for s in films if s.time_base != HEIF_STILL_TIME_BASE), films[0])
    best = container.streams.best("video")
    return (
        best if isinstance(best, av.VideoStream) and any(best.index == s.index for s in films) else films[0]
    )


def _probe_container(path: Path, container: av.container.InputContainer, wanted: int | None) -> Source:
    stream = _choose_video(path, container, wanted)
    if stream.codec_context is None:
        raise InputError(f"{path}: the codec of video stream {stream.index} is unknown to FFmpeg.")
    if stream.metadata.get("enc_key_id") or (
        container.format.name.startswith("mov") and _mp4_is_encrypted(path)
    ):
        raise InputError(
            f"{path} is encrypted (DRM); it cannot be decoded without its key, give an unprotected copy."
        )
    has_alpha_track = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
    beside, veiled = _beside_heif_film(path, container, stream)
    listing = _listing(path)
    streams = tuple(
        _describe_stream(s, listing.get(s.index, [])) for s in container.streams if s.index not in beside
    )
    chapters = tuple(
        Chapter(float(c["start"] * unit), float(c["end"] * unit), c["metadata"].get("title"))
        for c in container.chapters()
        if (unit := c["time_base"]) is not None
    )
    counted = bool(container.format.flags & NO_TIMESTAMPS)
    start_s = 0.0 if counted else (container.start_time or 0) / av.time_base
    duration_s = container.duration / av.time_base if container.duration else None
    frames = _first_frames(path, container, stream, has_alpha_track)
    first = frames[0]
    if first.width * first.height > MAX_PIXELS:
        raise InputError(
            f"{path} has pictures of {first.width}x{first.height} pixels; at most {MAX_PIXELS >> 20} megapixels are supported."
        )
    layout = planar_format(nearest_planar_name(first.format))
    assert layout is not None
    listed = listing.get(stream.index, [])
    # A decoder of our own (VP9 alpha) knows what the bitstream says, the stream also what the container says.
    tagged = stream.codec_context
    color = ColorTags(
        matrix=_specified(first.colorspace, tagged.colorspace, (UNSPECIFIED,)),
        range=stated_range(int(first.color_range), first.format.name, stream.codec_context.name)
        or int(tagged.color_range or 0)
        or (2 if first.format.name.startswith("yuvj") else 0),
        primaries=_specified(first.color_primaries, tagged.color_primaries),
        transfer=_specified(first.color_trc, tagged.color_trc),
        chroma_location=_chroma_location(listed),
    )
    if stream.codec_context.name in PROFILE_NAMING_DECODERS:
        frames = [_without_profile(frame) for frame in frames]
        first = frames[0]
    rotation, flipped = display_matrix(first)
    notes = ["The film's transparency lies in a track of its own, which is left out."] if veiled else []
    codec = stream.codec_context.codec.canonical_name
    effective = color.resolved(first.format.name, first.width, first.height, codec)
    if effective.matrix != color.matrix and layout.model == "yuv":
        notes.append(
            f"The source does not say which colour matrix it uses; {'BT.709' if effective.matrix == 1 else 'BT.601'} is assumed "
            "from its size, as players do, and written to the output."
        )
    if color.matrix in (10, 14):
        notes.append(
            "The source's colour matrix is not linear; the model sees an approximation, the round trip is exact."
        )
    notes += _extras(frames, listed, stream.metadata)
    crop = _crop(listed, first.width, first.height)
    if any(crop):
        notes.append(
            f"The container hides the edges of the picture ({crop.top} pixels at the top, {crop.bottom} at the bottom, {crop.left} "
            f"left, {crop.right} right); they are cut off, as players do."
        )
    sar = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    rate = _frame_rate(stream, frames, counted)
    if counted and stream.codec_context.framerate is None and rate is not None:
        notes.append(f"The raw stream does not say how fast it is; {rate} frames a second are assumed.")
    video = VideoStream(
        index=stream.index,
        codec=codec,
        width=first.width - crop.left - crop.right,
        height=first.height - crop.top - crop.bottom,
        crop=crop,
        sar=Fraction(sar) if sar and sar > 0 else Fraction(1),
        rotation=rotation,
        flipped=flipped,
        pix_fmt=first.format.name,
        bit_depth=layout.bit_depth,
        has_alpha=layout.has_alpha,
        chroma=layout.chroma,
        color=color,
        effective_color=effective,
        hdr=_hdr_metadata(first),
        average_rate=rate,
        time_base=Fraction(stream.time_base or Fraction(1, 1000)),
        interlaced=any(frame.interlaced_frame for frame in frames),
        frame_count_hint=_frame_count(stream, rate),
        start_pts=stream.start_time if stream.start_time is not None else first.pts,
        duration_s=_seconds(stream.duration, stream.time_base) or duration_s,
        language=_language(stream.metadata),
        disposition=_disposition(stream),
        metadata=tuple(sorted(stream.metadata.items())),
    )
    films = [s for s in streams if s.kind == "video" and "attached_pic" not in s.disposition]
    if len(films) > 1:
        others = ", ".join(str(s.index) for s in films if s.index != stream.index)
        notes.append(
            f"The file holds {len(films)} films; stream {stream.index} is upscaled, stream {others} is copied as it is."
        )
    return Source(
        kind="video",
        path=path,
        format=container.format.name,
        size_bytes=path.stat().st_size,
        duration_s=duration_s,
        start_s=start_s,
        streams=streams,
        chapters=chapters,
        metadata=tuple(sorted(container.metadata.items())),
        video=video,
        has_times=not counted or container.format.name in TIMED_BY_PARSER,
        notes=tuple(notes),
    )


def _beside_heif_film(
    path: Path, container: av.container.InputContainer, film: av.VideoStream
) -> tuple[set[int], bool]:
    """Streams of a HEIF file that are no part of its film, and whether one of them is its transparency.

    Transparency is a grey track of the film's size.
    """
    if read_heif(path) is None:
        return set(), False
    others = [s for s in container.streams.video if s.index != film.index]
    stills = {s.index for s in others if s.time_base == HEIF_STILL_TIME_BASE}
    veils = {
        s.index
        for s in others
        if s.index not in stills
        and s.format is not None
        and s.format.name.startswith("gray")
        and (s.width, s.height) == (film.width, film.height)
    }
    return stills | veils, bool(veils)


def _specified(bitstream: int, container: int | None, unspecified: tuple[int, ...] = RESERVED) -> int:
    """The code point that the bitstream states, or else the container; ``unspecified`` ones say nothing."""
    said = [int(point) for point in (bitstream, container) if point is not None]
    return next((point for point in said if point not in unspecified), UNSPECIFIED)


def _frame_rate(stream: av.VideoStream, frames: list[av.VideoFrame], raw: bool = False) -> Fraction | None:
    """Average rate; Matroska without a default duration reports its clock (1000 fps), then the first frames are measured.

    raw: a stream without a container, for which the demuxer's average is its own default of 25; FFmpeg's guess is what the
    stream's headers say.
    """
    rate = stream.guessed_rate if raw else stream.average_rate or stream.guessed_rate
    times = [frame.pts for frame in frames if frame.pts is not None]
    if (not rate or rate > 120) and len(times) > 1 and times[-1] > times[0] and stream.time_base:
        rate = Fraction(len(times) - 1) / ((times[-1] - times[0]) * stream.time_base)
        return rate.limit_denominator(1001)
    return Fraction(rate) if rate and rate > 0 else None


def _frame_count(stream: av.VideoStream, rate: Fraction | None) -> int | None:
    """Frames that the container announces, less those that an edit list hides: it shortens the stream, not its table."""
    if not stream.frames:
        return None
    shown_s = _seconds(stream.duration, stream.time_base)
    return min(stream.frames, round(shown_s * rate)) or None if shown_s and rate else stream.frames


def _first_frames(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, has_alpha: bool
) -> list[av.VideoFrame]:
    """The first decodable frames; an error when there is none among the first packets."""
    decoder = open_decoder(stream, has_alpha)
    frames: list[av.VideoFrame] = []
    for number, packet in enumerate(container.demux(stream)):
        if packet.size:  # an empty one repeats a picture; the decoder would take it for the end
            with suppress(*LIBRARY_ERRORS):
                frames += cast("list[av.VideoFrame]", decoder.decode(packet))
        if len(frames) >= FRAMES_PROBED or number >= PACKETS_TO_FIRST_FRAME:
            break
    else:
        with suppress(*LIBRARY_ERRORS):
            frames += cast("list[av.VideoFrame]", decoder.decode(None))
    if not frames:
        raise InputError(
            f"{path}: not one frame of its video ({stream.codec_context.name}) can be decoded; the file is damaged."
        )
    return frames


def _without_profile(frame: av.VideoFrame) -> av.VideoFrame:
    """``frame`` without its colour profile, whose name PyAV frees twice once it has looked at a frame's side data."""
    graph = av.filter.Graph()
    buffer = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
    )
    delete = graph.add("sidedata", "mode=delete:type=ICC_PROFILE")
    graph.link_nodes(buffer, delete, graph.add("buffersink")).configure()
    graph.push(frame)
    bare = cast(av.VideoFrame, graph.pull())
    bare.pts = frame.pts
    return bare


def _hdr_metadata(frame: av.VideoFrame) -> HdrMetadata | None:
    """HDR10 static metadata of a decoded frame (AVMasteringDisplayMetadata, AVContentLightMetadata)."""
    mastering = side_data(frame, "MASTERING_DISPLAY_METADATA")
    light = side_data(frame, "CONTENT_LIGHT_LEVEL")
    facts: dict[str, Any] = {}
    if mastering is not None and len(mastering) >= 88:
        numbers = struct.unpack("<20i2i", mastering[:88])
        ratios = [
            Fraction(n, d) if d else Fraction(0) for n, d in zip(numbers[:20:2], numbers[1:20:2], strict=True)
        ]
        if numbers[20]:
            pairs = [(ratios[i], ratios[i + 1]) for i in range(0, 8, 2)]
            facts.update(red=pairs[0], green=pairs[1], blue=pairs[2], white=pairs[3])
        if numbers[21]:
            facts.update(min_luminance=ratios[8], max_luminance=ratios[9])
    if light is not None and len(light) >= 8:
        facts["max_cll"], facts["max_fall"] = struct.unpack("<2I", light[:8])
    return HdrMetadata(**facts) if facts else None


def _listing(path: Path) -> dict[int, list[str]]:
    """The lines about each stream in ffmpeg's verbose listing, which knows what PyAV does not expose."""
    try:
        lines = list_streams(path, timeout_s=PROBE_TIMEOUT_S).splitlines()
    except RvrtError:
        return {}
    found: dict[int, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if start := re.match(r"\s*Stream #0:(\d+)\b.*?: \w+: ", line):
            current = found.setdefault(int(start[1]), [])
        current.append(line)
    return found


def _data_name(listed: list[str]) -> str | None:
    """What a data stream holds: FFmpeg's name, or the four letters by which the container calls it."""
    match = re.search(r": Data: (\w+)(?:.*?\((.{4}) / 0x)?", listed[0]) if listed else None
    if match is None:
        return None
    return match[1] if match[1] not in ("none", "bin_data") else (match[2] or match[1]).strip()


def _codec_delay_s(listed: list[str]) -> float:
    """Seconds of sound that the container says a decoder gives before the first sample that counts."""
    match = re.search(r": Audio: .*?(\d+) Hz.*?, delay (\d+)", listed[0]) if listed else None
    return int(match[2]) / int(match[1]) if match and int(match[1]) else 0.0


def _chroma_location(listing: list[str]) -> ChromaLocation:
    """Chroma siting of a stream, of its lines in :func:`_listing`."""
    words = re.split(r"[(),\s]+", listing[0]) if listing else []
    found = [word for word in words if word in _LOCATIONS]
    return cast(ChromaLocation, found[0]) if found else "unspecified"


def _crop(listing: list[str], width: int, height: int) -> Crop:
    """The edges that an MP4's clean aperture or a Matroska's PixelCrop hides; none where nothing would be left."""
    for line in listing:
        name, _, value = line.strip().lower().partition(":")
        if name == "frame cropping" and (sides := re.fullmatch(r"(\d+)/(\d+)/(\d+)/(\d+)", value.strip())):
            crop = Crop(*(int(side) for side in sides.groups()))
            if crop.left + crop.right < width and crop.top + crop.bottom < height:
                return crop
    return NO_CROP


def _extras(frames: list[av.VideoFrame], listing: list[str], metadata: Mapping[str, str]) -> list[str]:
    """Sentences for what the first frames and the stream carry beside the picture and an upscaled one does not."""
    kinds = {kind for frame in frames for kind in FRAME_EXTRAS if side_data(frame, kind) is not None}
    if "stereo_mode" in metadata:  # Matroska's own mark, which is copied
        kinds.discard("STEREO3D")
    lost = {FRAME_EXTRAS[kind] for kind in kinds}
    notes = []
    for line in listing:
        name = line.strip().lower().partition(":")[0]
        lost |= {extra for start, extra in STREAM_EXTRAS.items() if name.startswith(start)}
    if lost:
        notes.append(f"Not carried into the upscaled picture: {', '.join(sorted(lost))}.")
    return notes


def _mp4_is_encrypted(path: Path) -> bool:
    """True when a sample entry of the movie header is "encv": FFmpeg would decode the ciphertext into garbage."""
    with open(path, "rb") as file:
        end = path.stat().st_size
        position = 0
        while position + 8 <= end:
            file.seek(position)
            size, kind = struct.unpack(">I4s", file.read(8))
            if size == 1:
                wide = file.read(8)
                size = struct.unpack(">Q", wide)[0] if len(wide) == 8 else 0
            if kind == b"moov":
                file.seek(position)
                return b"encv" in file.read(min(size or BOX_BYTES_READ, BOX_BYTES_READ))
            if size < 8:
                return False
            position += size
    return False
