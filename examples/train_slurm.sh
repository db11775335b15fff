#!/usr/bin/env bash
# Trains RVRT Light on Vimeo-90K on two machines with eight devices each, under Slurm: sbatch examples/train_slurm.sh
# Needs: a Slurm cluster; this folder, with vimeo_septuplet and runs, on a disk that all machines share. Not run by the tests.
#SBATCH --job-name=rvrt-light
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# PyTorch in bfloat16 on NVIDIA cards; on Ascends: BACKEND=mindspore PRECISION=fp16 sbatch --gres=npu:8 examples/train_slurm.sh
export BACKEND="${BACKEND:-torch}" PRECISION="${PRECISION:-bf16}"
MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -1):29500
export MASTER
cd "$SLURM_SUBMIT_DIR" || exit

# One task per machine; rvrt starts the processes of its eight devices, each with its data workers on the cores that are left.
code=0
srun bash -c 'exec rvrt train --dataset vimeo90k --model light --backend "$BACKEND" --precision "$PRECISION" --batch 16 \
  --devices 8 --nodes "$SLURM_NNODES" --node-rank "$SLURM_NODEID" --master "$MASTER" --out runs/light --resume auto' || code=$?

# Ten minutes before the time is up Slurm sends SIGTERM: rvrt saves and ends with 130. Only this queues the job again;
# --requeue does so after a machine has failed. --resume auto goes on from the checkpoint.
if [ "$code" -eq 130 ]; then
  exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
