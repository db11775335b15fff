#!/usr/bin/env bash
# Makes docs/before-after.jpg again, the picture of the README: bicubic on the left, the shipped model on the right.
# Usage: examples/make_picture.sh [OUT.jpg]     Needs: rvrt (bash examples/make_picture.sh in a checkout).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../docs/before-after.jpg}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rvrt upscale "$here/bunny.mp4" "$work/picture.png" --frame 2.4 --compare side --light
ffmpeg=$(python3 -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
"$ffmpeg" -v error -y -i "$work/picture.png" -q:v 2 -pix_fmt yuvj444p "$out"
