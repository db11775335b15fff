"""The suffixes by which files in a folder are taken for pictures or films; what a single file is, its content says."""

from __future__ import annotations

# What OpenCV reads; training and evaluation take these.
OPENCV_SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".jpe",
        ".bmp",
        ".tif",
        ".tiff",
        ".webp",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
    }
)
# What FFmpeg reads besides.
FFMPEG_SUFFIXES = frozenset({".avif", ".heic", ".heif", ".hif", ".ico", ".j2k", ".jp2", ".tga"})
IMAGE_SUFFIXES = OPENCV_SUFFIXES | FFMPEG_SUFFIXES
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts",
     ".vob", ".webm", ".wmv", ".y4m"}
)  # fmt: skip
