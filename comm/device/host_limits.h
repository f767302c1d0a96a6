// comm/device/host_limits.h: what this process may use of its host. A container (Docker,
// Kubernetes, Slurm, systemd) sees all of the host's cores and memory and is held to less by a
// control group: threads beyond the quota wait for each other, and memory beyond the limit ends the
// process without a word.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace kvfold {

// Limits by control groups, of version 1 or 2: the least of this process's group and all above it,
// as far up as the mounted hierarchies show them. Empty where there is no limit.
struct CgroupLimits {
  std::optional<int> cores;             // processor time in whole cores, rounded up; at least 1
  std::optional<int64_t> memory_bytes;  // at which the kernel ends or throttles
};

// root: where /proc and /sys are found; another than "/" in tests. What is not there or cannot be
// read is no limit.
CgroupLimits ReadCgroupLimits(const std::filesystem::path& root = "/");

// Cores that this process may run on, by its affinity mask, and no more than its quota of processor
// time, as it stood when first asked; at least 1. Ranks on one host share the quota.
int AvailableCores();
// Likewise of all processes of this host: by no mask.
int HostCores();
// What control groups allow this process and its neighbours in them; empty: all that there is.
std::optional<int64_t> MemoryLimitBytes();
// Memory of this host, and no more than this process's control groups allow.
int64_t AvailableMemoryBytes();

}  // namespace kvfold
