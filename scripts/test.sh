#!/usr/bin/env bash
# Builds kvfold and runs its tests but for those with the label `long`; then fuzzes each reader for 20 s
# (scripts/fuzz.sh).
#     scripts/test.sh [--preset test|release|debug|asan|tsan] [--all] [-- CTEST_OPTION...]
# test, the default, is release with the GPU's kernels for one architecture alone. --all runs the long tests too.
# Options of ctest choose among all tests, and leave the fuzzing out. The presets of sanitizers leave it out as well:
# the fuzz targets have sanitizers themselves.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

preset="test"
chosen=(--label-exclude '^long$')
while (($#)); do
  case $1 in
    --preset)
      preset=${2:-}
      shift
      ;;
    --all) chosen=() ;;
    --)
      shift
      break
      ;;
    -h | --help)
      sed -n '2,7s/^# *//p' "$0"
      exit 0
      ;;
    *)
      echo "test.sh: unknown option '$1'; expected --preset NAME, --all, or -- and options of ctest" >&2
      exit 2
      ;;
  esac
  (($#)) && shift
done
case $preset in
  test | release | debug | asan | tsan) ;;
  *)
    echo "test.sh: unknown preset '$preset'; expected test, release, debug, asan or tsan" >&2
    exit 2
    ;;
esac

"$root/scripts/install_deps.sh"
test_data=$("$root/scripts/fetch_test_data.sh")
eval "$test_data"
# shellcheck source=scripts/lib/local_mpi.sh
source "$root/scripts/lib/local_mpi.sh"
# shellcheck source=scripts/lib/build.sh
source "$root/scripts/lib/build.sh"

# Only what libraries do that are not ours is suppressed: the files say what, and why.
case $preset in
  asan) export LSAN_OPTIONS=suppressions=$root/tests/support/lsan.supp:print_suppressions=0 ;;
  tsan) export TSAN_OPTIONS=suppressions=$root/tests/support/tsan.supp ;;
esac

(($#)) && chosen=("$@")
build_preset "$root" "$preset"
cd "$root"
ctest --preset "$preset" --parallel "$(nproc)" "${chosen[@]}"

if (($#)) || [[ $preset == asan || $preset == tsan ]]; then exit 0; fi
"$root/scripts/install_deps.sh" --fuzzing 2>/dev/null || true # without clang the next line says that it skips
"$root/scripts/fuzz.sh" --seconds 20 --if-possible
