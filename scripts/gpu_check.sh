#!/usr/bin/env bash
# Checks and measures kvfold on this machine's NVIDIA GPU, in pieces that each end within eight minutes.
#     scripts/gpu_check.sh [--kvfold EXECUTABLE] [--tests FOLDER] [--mpirun "mpirun OPTIONS"] [--out FOLDER]
#                          [--list] [--rehearse] [PIECE...]
# Without a PIECE all of them run. Raw JSON goes to docs/results/gpu, a file a piece; scripts/gpu_report.py makes
# docs/results/gpu.md of it. --rehearse runs every step on the CPU with tiny shapes: a test of the check itself,
# whose figures belong nowhere.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${1:-} in
  -h | --help)
    sed -n '2,7s/^# *//p' "$0"
    exit 0
    ;;
esac
# shellcheck source=scripts/lib/local_mpi.sh
source "$root/scripts/lib/local_mpi.sh"
exec python3 -B "$root/scripts/lib/gpu_check.py" --root "$root" --local-mpirun "${mpirun_local[*]}" "$@"
