#!/usr/bin/env bash
# Puts rvrt between two other programs: ffmpeg decodes and crops, rvrt upscales, ffmpeg encodes. Only pictures go through the pipe:
# the sound is taken from the source in the last step.
# Usage: y4m_pipe.sh IN OUT [more options of rvrt upscale]     Set FFMPEG to use another ffmpeg.
set -euo pipefail
in=${1:?usage: y4m_pipe.sh IN OUT [options]}
out=${2:?usage: y4m_pipe.sh IN OUT [options]}
ffmpeg=${FFMPEG:-ffmpeg}
"$ffmpeg" -v error -nostdin -i "$in" -vf crop=iw/2*2:ih/2*2 -pix_fmt yuv420p -f yuv4mpegpipe - |
  rvrt upscale - - --quiet "${@:3}" |
  "$ffmpeg" -v error -y -i - -i "$in" -map 0:v -map '1:a?' -c:v libx264 -crf 16 -c:a copy "$out"
