# scripts/lib/build.sh, to be sourced: configures and builds a preset of CMakePresets.json.
# shellcheck shell=bash

# build_preset ROOT PRESET TARGET...: all targets where none is named. Through ccache where there is one. build_options are
# further options of the configuration.
build_preset() {
  local root=$1 preset=$2 options=("${build_options[@]}") targets=()
  shift 2
  command -v ccache >/dev/null &&
    options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
  (($#)) && targets=(--target "$@")
  (
    cd "$root" || exit
    cmake --preset "$preset" "${options[@]}" &&
      cmake --build --preset "$preset" "${targets[@]}"
  )
}
