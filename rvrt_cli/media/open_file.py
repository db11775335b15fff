"""Open a film for FFmpeg's demuxers and decoders: local files only, in bounded time, one thread."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import av

from rvrt_cli.errors import InputError

# Demuxers that read other files or the network on behalf of the file they are given.
INDIRECT_FORMATS = frozenset(
    {"hls", "concat", "dash", "sdp", "rtsp", "lavfi", "tty", "imf", "applehttp", "webm_dash_manifest"}
)
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"v=0\r\n", b"v=0\n")
PROBE_TIMEOUT_S = 60.0
VPX_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def check_regular_file(path: Path) -> None:
    """Raise :class:`InputError` unless ``path`` is a file with something in it."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file; give a video file, an image folder, a pattern or -.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); it was probably not copied or recorded completely.")


def open_container(path: Path) -> av.container.InputContainer:
    """Open a local file; refuses formats that would open other files. Wrap calls in :func:`rvrt_cli.media.av_errors.translate_av_errors`."""
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(PLAYLIST_STARTS) or b"<MPD" in start:  # FFmpeg would try their entries for minutes
        raise InputError(f"{path} is a playlist that refers to other files; give the video file itself.")
    # "file:" keeps names such as "a:b.mp4" from being read as a protocol; whatever a demuxer opens must be local.
    container = av.open(
        f"file:{path}",
        options={"protocol_whitelist": "file"},
        metadata_errors="replace",
        timeout=(PROBE_TIMEOUT_S, None),
    )
    if INDIRECT_FORMATS & set(container.format.name.split(",")):
        name = container.format.name
        container.close()
        raise InputError(
            f"{path} is a {name} playlist that refers to other files; give the video file itself."
        )
    return container


def open_decoder(stream: av.VideoStream, has_alpha: bool) -> av.VideoCodecContext:
    """The codec context to decode ``stream`` with; VP8/VP9 alpha is understood by libvpx only.

    One thread: with several, FFmpeg's decoders lose other frames after damage, and conceal others, than with one. The
    model takes more time than they do by far.
    """
    context = stream.codec_context
    name = context.name
    if has_alpha and name in VPX_ALPHA_DECODERS:
        context = cast(av.VideoCodecContext, av.CodecContext.create(VPX_ALPHA_DECODERS[name], "r"))
    elif name == "h264":
        # Where the headers give no reorder depth, FFmpeg guesses one from the first frames and drops frames when it turns
        # out to be too small. A strict decoder waits as long as the level allows (libavcodec/h264_ps.c).
        context.options = {"strict": "strict"}
    context.thread_count = 1
    return context
