#include "comm/device/host_limits.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace kvfold {
namespace {

namespace fs = std::filesystem;

// A hierarchy of control groups, as it is mounted.
struct Mount {
  fs::path at;  // below the root that is read
  std::string
      root;  // the group that is seen there; "/" but for containers that see their own alone
  bool unified = false;                  // version 2
  std::vector<std::string> controllers;  // of version 1
};

std::vector<std::string> Split(std::string_view text, char by) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(by, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool Contains(const std::vector<std::string>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

// mountinfo writes spaces, tabs, newlines and backslashes as \ooo.
std::string Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    if (text[i] == '\\' && i + 4 <= text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8).ptr ==
            text.data() + i + 4) {
      plain += static_cast<char>(code);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

fs::path Below(const fs::path& root, const std::string& path) {
  return root / fs::path(path).relative_path();
}

// proc(5): "36 35 98:0 /root /mount/point options - type source super,options", any number of
// fields before the dash. What lies at the usual places is looked at in any case: a mount point
// that something else was mounted over tells what that is only there.
std::vector<Mount> ReadMounts(const fs::path& root) {
  std::vector<Mount> mounts = {
      {root / "sys/fs/cgroup", "/", true, {}},
      {root / "sys/fs/cgroup/cpu", "/", false, {"cpu"}},
      {root / "sys/fs/cgroup/cpu,cpuacct", "/", false, {"cpu"}},
      {root / "sys/fs/cgroup/memory", "/", false, {"memory"}},
  };
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> fields = Split(line, ' ');
    const size_t dash = static_cast<size_t>(std::ranges::find(fields, "-") - fields.begin());
    if (fields.size() < 6 || dash + 3 >= fields.size()) continue;
    const std::string& type = fields[dash + 1];
    if (type != "cgroup" && type != "cgroup2") continue;
    Mount mount{Below(root, Unescape(fields[4])), Unescape(fields[3]), type == "cgroup2",
                Split(fields[dash + 3], ',')};
    std::erase_if(mounts, [&](const Mount& other) { return other.at == mount.at; });
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

// This process's group in a hierarchy. /proc/self/cgroup: "0::/path" of version 2,
// "4:cpu,cpuacct:/path" of version 1. Empty where it is in none.
std::string GroupIn(const Mount& mount, const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::vector<std::string> controllers =
        Split(std::string_view(line).substr(first + 1, second - first - 1), ',');
    const bool is_unified = line.substr(0, second + 1) == "0::";
    const bool is_this =
        mount.unified ? is_unified : std::ranges::any_of(mount.controllers, [&](auto& name) {
          return Contains(controllers, name) && !is_unified;
        });
    if (is_this) return line.substr(second + 1);
  }
  return {};
}

// The folders of this process's group and of all above it that the mount shows.
std::vector<fs::path> Folders(const Mount& mount, const fs::path& root) {
  std::vector<fs::path> folders = {mount.at};
  std::string group = GroupIn(mount, root);
  // A mount that shows a part of the hierarchy shows this process's group relative to it.
  const bool is_part = mount.root != "/" && !mount.root.empty();
  if (is_part && (group + "/").starts_with(mount.root + "/")) group.erase(0, mount.root.size());
  fs::path folder = mount.at;
  for (const std::string& name : Split(group, '/')) {
    if (name.empty()) continue;
    // Out of sight: in a namespace of groups whose root is below this process's group.
    if (name == "..") return {mount.at};
    folder /= name;
    folders.push_back(folder);
  }
  return folders;
}

std::vector<std::string> ReadWords(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> words;
  for (std::string word; words.size() < 8 && file >> word;) words.push_back(word);
  return words;
}

// The number that a word is; none for "max", "-1" and everything else.
std::optional<int64_t> Number(const std::vector<std::string>& words, size_t at) {
  if (at >= words.size()) return std::nullopt;
  const std::string& word = words[at];
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value < 0) return std::nullopt;
  return value;
}

template <typename Value>
void TakeLess(std::optional<Value>& least, Value value) {
  least = least ? std::min(*least, value) : value;
}

void TakeQuota(std::optional<int64_t> quota_us, std::optional<int64_t> period_us,
               CgroupLimits& limits) {
  if (!quota_us || !period_us || *quota_us == 0 || *period_us == 0) return;
  const int64_t cores = (*quota_us - 1) / *period_us + 1;
  TakeLess(limits.cores,
           static_cast<int>(std::min<int64_t>(cores, std::numeric_limits<int>::max())));
}

void TakeMemory(std::optional<int64_t> bytes, CgroupLimits& limits) {
  // A group of version 1 without a limit shows the largest number of whole pages.
  constexpr int64_t kUnlimited = int64_t{1} << 62;
  if (bytes && *bytes > 0 && *bytes < kUnlimited) TakeLess(limits.memory_bytes, *bytes);
}

}  // namespace

CgroupLimits ReadCgroupLimits(const fs::path& root) {
  CgroupLimits limits;
  for (const Mount& mount : ReadMounts(root)) {
    for (const fs::path& folder : Folders(mount, root)) {
      if (mount.unified) {
        const std::vector<std::string> cpu = ReadWords(folder / "cpu.max");
        TakeQuota(Number(cpu, 0), cpu.size() > 1 ? Number(cpu, 1) : 100'000, limits);
        TakeMemory(Number(ReadWords(folder / "memory.max"), 0), limits);
        TakeMemory(Number(ReadWords(folder / "memory.high"), 0), limits);
      } else {
        TakeQuota(Number(ReadWords(folder / "cpu.cfs_quota_us"), 0),
                  Number(ReadWords(folder / "cpu.cfs_period_us"), 0), limits);
        TakeMemory(Number(ReadWords(folder / "memory.limit_in_bytes"), 0), limits);
      }
    }
  }
  return limits;
}

namespace {

const CgroupLimits& OwnLimits() {
  static const CgroupLimits limits = ReadCgroupLimits();
  return limits;
}

int WithinQuota(int cores) {
  return std::max(1, std::min(cores, OwnLimits().cores.value_or(cores)));
}

}  // namespace

int AvailableCores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  // Fails only on hosts with more cores than a cpu_set_t holds (1024).
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return WithinQuota(CPU_COUNT(&cores));
  return WithinQuota(static_cast<int>(std::thread::hardware_concurrency()));
}

int HostCores() { return WithinQuota(static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))); }

std::optional<int64_t> MemoryLimitBytes() { return OwnLimits().memory_bytes; }

int64_t AvailableMemoryBytes() {
  const int64_t host = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  return std::min(host, MemoryLimitBytes().value_or(host));
}

}  // namespace kvfold
