// Limits of containers, read from made-up trees of /proc and /sys, as systems of several kinds show
// them.
#include "comm/device/host_limits.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace kvfold {
namespace {

namespace fs = std::filesystem;

class HostLimitsTest : public testing::Test {
 protected:
  HostLimitsTest() {
    root_ = fs::temp_directory_path() / ("kvfold_host_limits_" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~HostLimitsTest() override { fs::remove_all(root_); }
  void Write(const fs::path& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  // A line of /proc/self/mountinfo.
  static std::string Mounted(const std::string& root, const std::string& at,
                             const std::string& type, const std::string& options) {
    return "36 35 0:31 " + root + " " + at + " rw,nosuid shared:9 master:1 - " + type + " cgroup " +
           options + "\n";
  }
  CgroupLimits Read() const { return ReadCgroupLimits(root_); }

  fs::path root_;
};

TEST_F(HostLimitsTest, WithoutControlGroupsThereIsNoLimit) {
  EXPECT_FALSE(Read().cores);
  EXPECT_FALSE(Read().memory_bytes);
}

TEST_F(HostLimitsTest, ANamespaceOfVersion2ShowsItsOwnGroupAtTheRoot) {
  Write("proc/self/cgroup", "0::/\n");
  Write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" +
                                   Mounted("/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate"));
  Write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  Write("sys/fs/cgroup/memory.max", "536870912\n");
  EXPECT_EQ(Read().cores, 2);
  EXPECT_EQ(Read().memory_bytes, int64_t{512} << 20);
}

TEST_F(HostLimitsTest, WithoutMountinfoTheUsualPlacesAreRead) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_EQ(Read().cores, 1);
  fs::remove(root_ / "proc/self/cgroup");
  EXPECT_EQ(Read().cores, 1);
}

TEST_F(HostLimitsTest, QuotasAreRoundedUpToWholeCores) {
  Write("proc/self/cgroup", "0::/\n");
  for (const auto& [text, cores] : std::vector<std::pair<std::string, std::optional<int>>>{
           {"max 100000", {}},
           {"1000 100000", 1},
           {"99999 100000", 1},
           {"100000 100000", 1},
           {"100001 100000", 2},
           {"400000 50000", 8},
           {"300000", 3},  // the period is 100 ms where none is written
           {"9223372036854775807 1", 2147483647},
           {"0 100000", {}},
           {"100000 0", {}},
           {"-1 100000", {}},
           {"many 100000", {}},
           {"", {}}}) {
    Write("sys/fs/cgroup/cpu.max", text + "\n");
    EXPECT_EQ(Read().cores, cores) << text;
  }
}

TEST_F(HostLimitsTest, TheLeastOfAllGroupsAboveCounts) {
  Write("proc/self/cgroup", "0::/system.slice/job.service/step:0\n");
  Write("proc/self/mountinfo", Mounted("/", "/sys/fs/cgroup", "cgroup2", "rw"));
  Write("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/system.slice/memory.max", "max\n");
  Write("sys/fs/cgroup/system.slice/job.service/cpu.max", "300000 100000\n");
  Write("sys/fs/cgroup/system.slice/job.service/memory.max", "4294967296\n");
  Write("sys/fs/cgroup/system.slice/job.service/step:0/cpu.max", "800000 100000\n");
  Write("sys/fs/cgroup/system.slice/job.service/step:0/memory.max", "max\n");
  Write("sys/fs/cgroup/system.slice/job.service/step:0/memory.high", "3221225472\n");
  Write("sys/fs/cgroup/other.slice/cpu.max", "100000 100000\n");  // nobody's here
  EXPECT_EQ(Read().cores, 3);
  EXPECT_EQ(Read().memory_bytes, int64_t{3} << 30);
}

TEST_F(HostLimitsTest, AMountThatShowsAPartOfTheHierarchy) {
  // A container without a namespace of groups: its own group is mounted, and named in full.
  Write("proc/self/cgroup", "0::/docker/abc/inner\n");
  Write("proc/self/mountinfo", Mounted("/docker/abc", "/sys/fs/cgroup", "cgroup2", "rw"));
  Write("sys/fs/cgroup/cpu.max", "500000 100000\n");
  Write("sys/fs/cgroup/inner/cpu.max", "200000 100000\n");
  EXPECT_EQ(Read().cores, 2);
}

TEST_F(HostLimitsTest, AGroupOutOfSightLeavesWhatTheMountShows) {
  Write("proc/self/cgroup", "0::/../elsewhere\n");
  Write("proc/self/mountinfo", Mounted("/", "/sys/fs/cgroup", "cgroup2", "rw"));
  Write("sys/fs/cgroup/cpu.max", "600000 100000\n");
  Write("sys/fs/elsewhere/cpu.max", "100000 100000\n");
  EXPECT_EQ(Read().cores, 6);
}

TEST_F(HostLimitsTest, Version1HasAHierarchyAController) {
  Write("proc/self/cgroup",
        "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n1:name=systemd:/x\n");
  Write("proc/self/mountinfo",
        Mounted("/docker/abc", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct") +
            Mounted("/docker/abc", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"));
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  EXPECT_EQ(Read().cores, 3);
  EXPECT_EQ(Read().memory_bytes, int64_t{1} << 30);
}

TEST_F(HostLimitsTest, Version1WithoutLimits) {
  Write("proc/self/cgroup", "12:memory:/\n4:cpu:/\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(Read().cores);
  EXPECT_FALSE(Read().memory_bytes);
}

TEST_F(HostLimitsTest, Version1NestedByAllItsGroups) {
  Write("proc/self/cgroup", "9:memory:/slurm/uid_7/job_8\n2:cpu:/slurm/uid_7/job_8\n");
  Write("proc/self/mountinfo", Mounted("/", "/cgroup/cpu", "cgroup", "rw,cpu") +
                                   Mounted("/", "/cgroup/memory", "cgroup", "rw,memory"));
  Write("cgroup/memory/slurm/memory.limit_in_bytes", "9223372036854771712\n");
  Write("cgroup/memory/slurm/uid_7/memory.limit_in_bytes", "2147483648\n");
  Write("cgroup/memory/slurm/uid_7/job_8/memory.limit_in_bytes", "8589934592\n");
  Write("cgroup/cpu/slurm/uid_7/cpu.cfs_quota_us", "400000\n");
  Write("cgroup/cpu/slurm/uid_7/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Read().cores, 4);
  EXPECT_EQ(Read().memory_bytes, int64_t{2} << 30);
}

TEST_F(HostLimitsTest, BothVersionsSideBySide) {
  Write("proc/self/cgroup", "4:cpu:/a\n0::/b\n");
  Write("proc/self/mountinfo", Mounted("/", "/sys/fs/cgroup/cpu", "cgroup", "rw,cpu") +
                                   Mounted("/", "/sys/fs/cgroup/unified", "cgroup2", "rw"));
  Write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "500000\n");
  Write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/unified/b/memory.max", "1000000\n");
  EXPECT_EQ(Read().cores, 5);
  EXPECT_EQ(Read().memory_bytes, 1000000);
}

TEST_F(HostLimitsTest, MountPointsWithSpaces) {
  Write("proc/self/cgroup", "0::/\n");
  Write("proc/self/mountinfo", Mounted("/", "/control\\040groups", "cgroup2", "rw"));
  Write("control groups/cpu.max", "200000 100000\n");
  EXPECT_EQ(Read().cores, 2);
}

TEST_F(HostLimitsTest, LinesThatAreNoneAreNothing) {
  Write("proc/self/cgroup", "\n0\n0:\n:::::\nnonsense\n");
  Write("proc/self/mountinfo", "\n-\n1 2 3\n36 35 0:31 / /x rw - cgroup2\n36 35 0:31 / /x rw -\n");
  EXPECT_FALSE(Read().cores);
}

TEST(HostLimits, ThisHostHasSomething) {
  EXPECT_GE(AvailableCores(), 1);
  EXPECT_GE(HostCores(), AvailableCores());
  EXPECT_GT(AvailableMemoryBytes(), int64_t{1} << 20);
}

}  // namespace
}  // namespace kvfold
