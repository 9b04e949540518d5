#!/usr/bin/env bash
# A folder of videos on SLURM, a share for each task of a job array:  sbatch slurm.sh VIDEOS RESULTS
# All nodes see both folders. Some tasks once more:  sbatch --array=3,5 --export=ALL,POSERT_SHARDS=8 slurm.sh VIDEOS RESULTS
#SBATCH --job-name=posert
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=posert-%a.log
set -euo pipefail
videos=$1 results=$2
status=0
srun posert infer nano "$videos" -o "$results" --format npz --track --threads "$SLURM_CPUS_PER_TASK" --shard env --resume || status=$?
[ "$status" = 3 ] && echo "some videos are broken, see above: the others are done"
exit "$status"
