#!/usr/bin/env bash
# Trains RVRT Light on Vimeo-90K on two machines with eight devices each, under Slurm: sbatch examples/train_slurm.sh
# Needs: a Slurm cluster, the same checkout and data on every machine. Not run by the tests.
#SBATCH --job-name=rvrt-light
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
set -euo pipefail
export MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -1):29500
# One task per machine; rvrt starts the processes for its eight devices. SIGTERM saves and ends cleanly, and the requeued job continues.
srun bash -c 'exec rvrt train --dataset vimeo90k --root "$SLURM_SUBMIT_DIR/vimeo_septuplet" --model light --backend "${BACKEND:-torch}" \
  --precision bf16 --batch 16 --devices 8 --nodes "$SLURM_NNODES" --node-rank "$SLURM_NODEID" --master "$MASTER" --out runs/light --resume auto'
