#!/usr/bin/env bash
# Fine-tunes the shipped weights on your own films and upscales one with the result. Stop it at any time: the same command continues.
# Usage: fine_tune.sh FILMS FILM OUT.mp4 [more options of rvrt train, for example --steps 2000]
# A useful run takes some thousand steps: hours on a CPU, minutes on an NVIDIA card. Needs PyTorch.
set -euo pipefail
films=${1:?usage: fine_tune.sh FILMS FILM OUT.mp4 [options]}
film=${2:?usage: fine_tune.sh FILMS FILM OUT.mp4 [options]}
out=${3:?usage: fine_tune.sh FILMS FILM OUT.mp4 [options]}
run=${RUN:-fine-tuned}
rvrt train --init light-s --model light-s --data "$films" --degradation real --lr 2e-4 --clip-grad 1 --ema 0.99 \
  --batch 4 --frames 6 --patch 128 --steps 2000 --out "$run" --resume auto --backend torch "${@:4}"
weights=$run/best.safetensors # written at validation (--val DIR)
[ -f "$weights" ] || weights=$run/last.safetensors
rvrt upscale "$film" "$out" --model "$weights"
