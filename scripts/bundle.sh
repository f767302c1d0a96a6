#!/usr/bin/env bash
# Packs a build into one folder and a tarball that run where nothing can be installed: executables, tests, Open MPI's
# runtime and every other library but glibc, the driver's and CUDA's own (which a GPU node has).
#     scripts/bundle.sh [--build FOLDER] [--out FOLDER]     default: build/release, build/bundle; beside it OUT.tar.xz
#     scripts/bundle.sh --check FOLDER                      tries the folder in an empty root with glibc alone (as root)
# There: kvfold-bundle/bin/kvfold ..., kvfold-bundle/bin/mpirun -n 2 kvfold-bundle/bin/kvfold ..., docs/cluster.md.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() {
  echo "bundle.sh: $1" >&2
  exit 2
}

build=$root/build/release
out=""
check=""
while (($#)); do
  case $1 in
    --build | --out | --check)
      (($# > 1)) || die "$1 wants a folder"
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    -h | --help)
      sed -n '2,6s/^# *//p' "$0"
      exit 0
      ;;
    *) die "unknown option '$1'; expected --build, --out or --check" ;;
  esac
done
out=${out:-$root/build/bundle}

# What the target brings itself.
is_glibc() {
  case $1 in
    ld-linux* | libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | libresolv.so* | libutil.so* | libmvec.so* | libanl.so*) ;;
    *) return 1 ;;
  esac
}
is_cuda() {
  case $1 in
    libcuda.so* | libcudart.so* | libcublas* | libnccl.so* | libnvidia-ml*) ;;
    *) return 1 ;;
  esac
}
# Used where the target has none: an older one in front of its own would break what it loads.
is_gcc() {
  case $1 in
    libstdc++.so* | libgcc_s.so* | libgomp.so*) ;;
    *) return 1 ;;
  esac
}

# copy_libraries FILE: all that it needs, by ldd.
copy_libraries() {
  local name arrow path rest missing
  missing=$(ldd "$1" | awk '/not found/ {print $1}')
  for name in $missing; do
    is_cuda "$name" || die "$1 needs $name, which is not here"
  done
  while read -r name arrow path rest; do
    [[ $arrow == "=>" && $path == /* ]] || continue
    if is_glibc "$name" || is_cuda "$name"; then continue; fi
    if is_gcc "$name"; then
      cp -nL "$path" "$out/lib-gcc/$name"
    else
      cp -nL "$path" "$out/lib/$name"
    fi
  done < <(ldd "$1")
}

# program FILE PLACE: FILE under libexec/, and at PLACE what starts it.
program() {
  install -D -m 755 "$1" "$out/libexec/$2"
  strip --strip-unneeded "$out/libexec/$2"
  copy_libraries "$1"
  mkdir -p "$(dirname "$out/$2")"
  local up
  up=$(dirname "$2" | sed 's|[^/]*|..|g')
  # shellcheck disable=SC2016  # the script's own
  printf '#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/%s/start" %s "$@"\n' "$up" "$2" >"$out/$2"
  chmod 755 "$out/$2"
}

# Open MPI 4 and PMIx as a distribution lays them out: where they look for their parts is moved by variables.
pack_mpi() {
  if ! command -v ompi_info >/dev/null || ! command -v orterun >/dev/null; then
    die "there is no Open MPI 4 here to pack (ompi_info and orterun)"
  fi
  local plugins share pmix plugin name
  plugins=$(ompi_info --path pkglibdir --parsable | cut -d : -f 3)
  [[ -d $plugins ]] || plugins=$(dirname "$(find /usr/lib -name mca_btl_self.so -print -quit)")
  [[ -f $plugins/mca_btl_self.so ]] || die "Open MPI's plugins were not found"
  share=$(ompi_info --path pkgdatadir --parsable | cut -d : -f 3)
  mkdir -p "$out"/mpi/{bin,plugins,etc,share} "$out"/pmix/{lib/pmix,share,etc}
  for name in orterun orted ompi_info; do
    program "$(command -v $name)" "bin/$name"
  done
  ln -sf orterun "$out/bin/mpirun"
  # One host or several over TCP; nothing for InfiniBand, Slurm, MPI-IO or monitoring, whose libraries are large.
  local keep='(allocator|bfrops|bml|btl_(self|vader|tcp)|coll_(basic|inter|libnbc|self|sm|sync|tuned|adapt|han)|compress|crs_none|dfs|dl|errmgr|ess_(hnp|singleton|pmi|env|tool)|event|filem|grpcomm|hwloc|if|installdirs|iof|memory|mpool|odls_default|oob_tcp|osc_(sm|rdma|pt2pt)|patcher|plm_(isolated|rsh)|pmix_(ext3x|isolated)|pml_(ob1|cm)|pstat|ras_simulator|rcache|reachable|regx|rmaps|rml|routed|rtc|schizo_(ompi|orte)|shmem_(mmap|posix|sysv)|snapc|state|timer|topo)'
  for plugin in "$plugins"/mca_*.so; do
    name=$(basename "$plugin" .so)
    [[ ${name#mca_} =~ ^$keep(_|$) ]] || continue
    install -m 644 "$plugin" "$out/mpi/plugins/"
    copy_libraries "$plugin"
  done
  [[ -d $share ]] && cp -rL "$share" "$out/mpi/share/openmpi"
  pmix=$(find /usr/lib /usr/local/lib -path '*/lib/pmix/*mca_p*.so' -printf '%h\n' -quit 2>/dev/null) || true
  if [[ -n $pmix ]]; then
    cp -L "$pmix"/*.so "$out/pmix/lib/pmix/"
    rm -f "$out"/pmix/lib/pmix/*slurm*
    for plugin in "$out"/pmix/lib/pmix/*.so; do copy_libraries "$plugin"; done
    share=$(cd "$pmix/../.." && pwd)/share/pmix
    [[ -d $share ]] && cp -rL "$share" "$out/pmix/share/pmix"
  fi
}

write_start() {
  cat >"$out/start" <<'START'
#!/bin/sh
# start PROGRAM ARGUMENTS...: runs a program of this folder with the libraries and the Open MPI of this folder. What
# bin/ and tests/ hold calls it; nothing has to be set before.
root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
export OPAL_PREFIX="$root/mpi" OPAL_EXEC_PREFIX="$root/mpi" OPAL_BINDIR="$root/bin" OPAL_LIBDIR="$root/lib" \
  OPAL_PKGLIBDIR="$root/mpi/plugins" OPAL_DATADIR="$root/mpi/share" OPAL_DATAROOTDIR="$root/mpi/share" \
  OPAL_PKGDATADIR="$root/mpi/share/openmpi" OPAL_SYSCONFDIR="$root/mpi/etc"
export PMIX_INSTALL_PREFIX="$root/pmix" PMIX_LIBDIR="$root/pmix/lib" PMIX_PKGLIBDIR="$root/pmix/lib/pmix" \
  PMIX_DATADIR="$root/pmix/share" PMIX_PKGDATADIR="$root/pmix/share/pmix" PMIX_SYSCONFDIR="$root/pmix/etc"
export OMPI_MCA_btl="${OMPI_MCA_btl:-self,vader,tcp}" OMPI_MCA_pml="${OMPI_MCA_pml:-ob1}"
# Where there is no ssh, one host is all there is.
command -v ssh >/dev/null 2>&1 || export OMPI_MCA_plm="${OMPI_MCA_plm:-isolated}"
export KVFOLD_CONFIG_DIR="${KVFOLD_CONFIG_DIR:-$root/share/kvfold/configs}"
libraries=$root/lib
has() { # whether the system has a library
  for folder in /usr/lib/x86_64-linux-gnu /lib/x86_64-linux-gnu /usr/lib64 /lib64 /usr/lib /lib; do
    [ -e "$folder/$1" ] && return 0
  done
  return 1
}
# GCC's libraries: the system's own where it has them.
if ! has libstdc++.so.6 || ! has libgcc_s.so.1; then
  libraries=$libraries:$root/lib-gcc
elif ! has libgomp.so.1; then
  libraries=$libraries:$root/lib-gomp
fi
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
program=$1
shift
exec "$root/libexec/$program" "$@"
START
  chmod 755 "$out/start"
}

# What scripts/gpu_check.sh reads: the bundle is a root like the repository's.
pack_check() {
  mkdir -p "$out"/scripts "$out"/tests/fixtures "$out"/models "$out"/docs/results "$out"/share/kvfold
  cp -r "$root"/scripts/{gpu_check.sh,gpu_report.py,lib,baselines} "$out/scripts/"
  cp -r "$root/tests/fixtures/models" "$out/tests/fixtures/"
  cp -r "$root/models/configs" "$out/models/"
  ln -s ../../models/configs "$out/share/kvfold/configs"
  find "$out" -name __pycache__ -prune -exec rm -rf {} +
  if command -v git >/dev/null && git -C "$root" rev-parse HEAD >/dev/null 2>&1; then
    local dirty=""
    [[ -z $(git -C "$root" status --porcelain --untracked-files=no) ]] || dirty=+
    echo "$(git -C "$root" rev-parse --short=12 HEAD)$dirty" >"$out/COMMIT"
  fi
}

make_bundle() {
  local kvfold=$build/launcher/kvfold file
  [[ -x $kvfold ]] || die "there is no $kvfold: build it first (cmake --preset release && cmake --build --preset release)"
  rm -rf "$out"
  mkdir -p "$out"/{bin,lib,lib-gcc,lib-gomp,libexec}
  program "$kvfold" bin/kvfold
  # Test programs that need a GPU or can use one, with their place in the build's tests folder.
  for file in "$build"/tests/comm/comm_test "$build"/tests/runtime/kernels/{,cuda/}*_test; do
    [[ -x $file ]] && program "$file" "${file#"$build"/}"
  done
  pack_mpi
  cp -nL "$out"/lib-gcc/libgomp.so.* "$out/lib-gomp/" 2>/dev/null || true
  find "$out"/lib "$out"/lib-gcc "$out"/lib-gomp "$out"/mpi "$out"/pmix -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true
  pack_check
  write_start
  tar -C "$(dirname "$out")" --transform "s|^$(basename "$out")|kvfold-bundle|" -c "$(basename "$out")" |
    xz -T0 -6 >"$out.tar.xz"
  echo "$out.tar.xz: $(du -m "$out.tar.xz" | cut -f 1) MB, unpacked $(du -sm "$out" | cut -f 1) MB; needs glibc $(
    find "$out"/libexec "$out"/lib "$out"/mpi -type f -exec readelf -V {} + 2>/dev/null | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -1 | cut -d _ -f 2
  ) or later"
}

# An empty root with a shell, its few tools, and glibc: two ranks score a fixture there, and --device cuda says what is missing.
check_bundle() {
  local bundle there tool library
  bundle=$(cd "$1" && pwd) || die "there is no folder $1"
  [[ $(id -u) -eq 0 ]] || die "--check makes a root of its own, which needs root"
  there=$(mktemp -d)
  # shellcheck disable=SC2064  # this folder
  trap "rm -rf --one-file-system '$there'" EXIT
  mkdir -p "$there"/{bin,tmp,etc,proc,sys,dev,opt,lib64,usr}
  chmod 1777 "$there/tmp"
  cp -a "$bundle" "$there/opt/kvfold-bundle"
  for tool in sh dirname readlink env cat ls; do
    tool=$(readlink -f "$(command -v $tool)")
    cp -L "$tool" "$there/bin/$(basename "$tool")"
    while read -r library; do
      mkdir -p "$there$(dirname "$library")"
      cp -nL "$library" "$there$library"
    done < <(ldd "$tool" | grep -oE '/[^ ]+')
  done
  ln -sf "$(basename "$(readlink -f "$(command -v sh)")")" "$there/bin/sh"
  while read -r library; do
    mkdir -p "$there$(dirname "$library")"
    cp -nL "$library" "$there$library"
  done < <(ldconfig -p | grep x86-64 | awk '{print $NF}' | grep -E '/(libc|libm|libpthread|libdl|librt|libresolv|libutil|libmvec|libanl|libnss_files|ld-linux-x86-64)\.so\.[0-9]+$')
  echo 'root:x:0:0:root:/:/bin/sh' >"$there/etc/passwd"
  echo '127.0.0.1 localhost' >"$there/etc/hosts"
  cat >"$there/check" <<'CHECK'
set -e
cd /opt/kvfold-bundle
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
bin/kvfold --version
model=tests/fixtures/models/llama_gqa
for ranks in 1 2; do
  bin/mpirun -n $ranks --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 bin/kvfold score --model $model \
    --tokens $model/reference/tokens.json --dtype f32 --log-level warn
done
code=0
bin/kvfold score --model $model --tokens $model/reference/tokens.json --device cuda || code=$?
[ $code -eq 2 ]
tests/comm/comm_test --gtest_brief=1 --gtest_filter='UploadRing.*:Staged.*'
CHECK
  # A mount namespace of its own: the mounts go with it.
  unshare -m sh -c "mount -t proc proc '$there/proc' && mount --rbind /dev '$there/dev' && mount --rbind /sys '$there/sys' &&
    exec chroot '$there' /bin/env -i PATH=/bin HOME=/ /bin/sh /check"
}

if [[ -n $check ]]; then
  check_bundle "$check"
else
  make_bundle
fi
