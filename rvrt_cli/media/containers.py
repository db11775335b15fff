"""What each container of the output holds and what it calls things."""

from __future__ import annotations

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "mkv", ".webm": "webm"}
MUXERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"}
# Containers that keep a display matrix with a mirror; Matroska and WebM keep a plain rotation at most.
CARRIES_ROTATION = frozenset({"mp4", "mov"})
TEXT_SUBTITLES = frozenset(
    {"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "microdvd", "sami", "realtext", "subviewer", "subviewer1",
     "mpl2", "stl", "jacosub", "pjs", "vplayer"}
)  # fmt: skip
# The text codec of each container, and the sound codec used when the source's does not fit.
TEXT_CODEC = {"mp4": "mov_text", "mov": "mov_text", "mkv": "subrip", "webm": "webvtt"}
# PCM fits into MP4 since 2023 only, as "ipcm", which older programs play as noise: there it becomes ALAC, which is lossless.
PCM_CODEC = {"mp4": "alac"}
SOUND_CODEC = {
    "mp4": ("aac", "256k"),
    "mov": ("aac", "256k"),
    "mkv": ("flac", ""),
    "webm": ("libopus", "192k"),
}
LOSSLESS_SOUND = frozenset({"alac", "flac"})
# Metadata of the whole file that comes back from what FFmpeg's muxers write (test_media_side_streams.py asks them).
METADATA_KEYS = {
    "mp4": frozenset(
        {"title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping", "lyrics",
         "description", "synopsis", "show", "episode_id", "network", "keywords", "episode_sort", "season_number", "media_type",
         "hd_video", "gapless_playback", "compilation", "track", "disc", "location", "creation_time"}
    ),
    "mov": frozenset(
        {"title", "artist", "album", "date", "comment", "genre", "copyright", "make", "model", "location", "creation_time"}
    ),
}  # fmt: skip
# What a file says of its own layout or of the program that wrote it, which is not about the film; "timecode" has a track.
LAYOUT_KEYS = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "encoding_tool", "duration", "handler_name", "vendor_id",
     "alpha_mode", "bps", "number_of_frames", "number_of_bytes", "timecode", "location-eng"}
)  # fmt: skip
# The same of a single stream: what MP4 and MOV have a place for, or what is no longer true of it or said by another means.
TRACK_KEYS = LAYOUT_KEYS | frozenset(
    {"language", "title", "name", "creation_time", "rotate", "stereo_mode", "filename", "mimetype", "encoder_options", "enc_key_id",
     "source_id", "_statistics_tags", "_statistics_writing_app", "_statistics_writing_date_utc", "comment"}
)  # fmt: skip
# Keys of this kind need QuickTime's own list of keys, which takes any other key, too.
QUICKTIME_KEY = "com.apple.quicktime."
# The tracks that are neither picture, sound nor text for which FFmpeg's MP4 muxer writes a description that can be read.
DATA_TAGS = frozenset({"gpmd"})
DATA_NAMES = {
    "gpmd": "GoPro telemetry", "mebx": "timed metadata of the camera", "djmd": "DJI telemetry", "dbgi": "DJI debugging data",
    "camm": "camera motion", "tmcd": "timecode", "klv": "KLV metadata", "rtp": "streaming hints",
}  # fmt: skip
# Data tracks that the MP4 muxer makes itself, of the picture's timecode and of the chapters.
TIMECODE_TAG = "tmcd"
CHAPTER_TAGS = frozenset({"text", "tx3g"})
COVER_CODECS = frozenset({"mjpeg", "png", "bmp"})


def read_back_name(codec: str, container: str) -> str:
    """What a codec is called when it is read from ``container``: MP4 has one name for the three layers of MPEG audio."""
    return "mp3" if codec in ("mp1", "mp2") and container == "mp4" else codec
