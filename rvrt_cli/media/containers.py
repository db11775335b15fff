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
SOUND_CODEC = {
    "mp4": ("aac", "256k"),
    "mov": ("aac", "256k"),
    "mkv": ("flac", ""),
    "webm": ("libopus", "192k"),
}
MP4_KEYS = frozenset(
    {"title", "artist", "album_artist", "album", "comment", "date", "year", "genre", "composer", "copyright", "description",
     "encoder", "creation_time", "track", "disc", "show", "episode_id", "network", "lyrics", "synopsis", "grouping", "language",
     "performer", "author", "keywords", "location", "major_brand", "minor_version", "compatible_brands", "media_type",
     "hd_video", "gapless_playback", "encoding_tool", "season_number", "episode_sort", "compilation", "rating", "timecode",
     "handler_name", "vendor_id", "duration", "alpha_mode", "bps", "number_of_frames", "number_of_bytes"}
)  # fmt: skip
# QuickTime knows languages by their bibliographic codes (ISO 639-2/B).
BIBLIOGRAPHIC = {
    "sqi": "alb", "hye": "arm", "eus": "baq", "mya": "bur", "zho": "chi", "ces": "cze", "nld": "dut", "fra": "fre", "kat": "geo",
    "deu": "ger", "ell": "gre", "isl": "ice", "mkd": "mac", "mri": "mao", "msa": "may", "fas": "per", "ron": "rum", "slk": "slo",
    "bod": "tib", "cym": "wel",
}  # fmt: skip


def read_back_name(codec: str, container: str) -> str:
    """What a codec is called when it is read from ``container``: MP4 has one name for the three layers of MPEG audio."""
    return "mp3" if codec in ("mp1", "mp2") and container == "mp4" else codec
