#!/usr/bin/env bash
# Installs the Debian packages that kvfold is built with and that are missing (Debian 12 and 13, Ubuntu 24.04).
# Where it may not install, it prints the one command to ask an administrator for, and exits 2. With --fuzzing also clang and
# its libFuzzer, which scripts/fuzz.sh needs and nothing else does: some 45 MB to fetch, 260 MB on disk.
set -euo pipefail

packages=(
  # MPI, products, sockets
  libopenmpi-dev openmpi-bin libdnnl-dev libzmq3-dev cppzmq-dev
  # logging, JSON, command line, tokenizers, archives
  libspdlog-dev libfmt-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libicu-dev zlib1g-dev
  # tests and benchmarks
  libgtest-dev libgmock-dev libbenchmark-dev
  # tools
  cmake ninja-build g++ pkg-config python3 python3-venv python3-pip unzip ca-certificates
)

[[ ${1:-} == --fuzzing ]] && packages+=(clang libclang-rt-dev)

if ! command -v dpkg-query >/dev/null; then
  echo "install_deps.sh: this system has no dpkg; install what these Debian packages hold by other means:" \
    "${packages[*]}" >&2
  exit 2
fi

# dpkg-query fails where it does not know a package at all; that is an answer, not an error.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
  grep -qx "installed $package" <<<"$installed" || missing+=("$package")
done
((${#missing[@]})) || exit 0

command="apt-get install -y --no-install-recommends ${missing[*]}"
refuse() {
  echo "install_deps.sh: $1; ask an administrator for:" >&2
  echo "    sudo apt-get update && sudo $command" >&2
  exit 2
}

root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || refuse "this needs root, and there is no sudo"
  # Without a terminal sudo cannot ask for a password.
  [[ -t 0 ]] || sudo -n true 2>/dev/null || refuse "this needs root, and sudo asks for a password"
  root=(sudo)
fi

echo "install_deps.sh: installing ${missing[*]}" >&2
as_root() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >&2; }
as_root apt-get update -q || refuse "apt-get update failed"
# shellcheck disable=SC2086  # package names hold no blanks
as_root $command -q || refuse "apt-get install failed"
