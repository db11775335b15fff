#!/usr/bin/env bash
# Upscales every film in a folder. Run it again at any time: what is finished is skipped, what was interrupted continues.
# Usage: folder_batch.sh FILMS UPSCALED [more options of rvrt upscale]
set -euo pipefail
films=${1:?usage: folder_batch.sh FILMS UPSCALED [options]}
upscaled=${2:?usage: folder_batch.sh FILMS UPSCALED [options]}
status=0
rvrt upscale "$films" "$upscaled" "${@:3}" || status=$?
if [ "$status" = 11 ]; then # finished, but some films failed and were named above
  echo "Some films could not be upscaled." >&2
fi
exit "$status"
