#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <string>

#include "comm/mpi/mpi_communicator.h"

namespace kvfold {
namespace {

constexpr const char* kVariables[] = {
    "OMPI_COMM_WORLD_SIZE", "PMI_SIZE",    "PMI_RANK", "PMIX_RANK",
    "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"};

// Starts from none of the variables and puts back what was there.
class StartedUnderMpiTest : public testing::Test {
 protected:
  StartedUnderMpiTest() {
    for (const char* const variable : kVariables) {
      if (const char* const value = std::getenv(variable)) before_[variable] = value;
      unsetenv(variable);
    }
  }
  ~StartedUnderMpiTest() override {
    for (const char* const variable : kVariables) unsetenv(variable);
    for (const auto& [variable, value] : before_) setenv(variable.c_str(), value.c_str(), 1);
  }
  static bool With(const std::map<std::string, std::string>& environment) {
    for (const char* const variable : kVariables) unsetenv(variable);
    for (const auto& [variable, value] : environment) {
      setenv(variable.c_str(), value.c_str(), 1);
    }
    return StartedUnderMpi();
  }

 private:
  std::map<std::string, std::string> before_;
};

TEST_F(StartedUnderMpiTest, APlainStartIsNot) {
  EXPECT_FALSE(With({}));
  EXPECT_FALSE(With({{"OMPI_COMM_WORLD_SIZE", ""}}));
  EXPECT_FALSE(With({{"OMPI_COMM_WORLD_SIZE", "many"}}));
}

TEST_F(StartedUnderMpiTest, AShellOfASlurmAllocationIsNot) {
  EXPECT_FALSE(With({{"SLURM_NTASKS", "8"}, {"SLURM_STEP_NUM_TASKS", "8"}}));
}

TEST_F(StartedUnderMpiTest, KnowsLaunchersByTheirRanks) {
  EXPECT_TRUE(With({{"OMPI_COMM_WORLD_SIZE", "2"}}));
  EXPECT_TRUE(With({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}));
  EXPECT_TRUE(With({{"PMIX_RANK", "0"}, {"SLURM_NTASKS", "4"}}));
  EXPECT_TRUE(With({{"PMIX_RANK", "3"}, {"SLURM_STEP_NUM_TASKS", "4"}}));
  EXPECT_TRUE(With({{"PMIX_RANK", "1"}}));
}

TEST_F(StartedUnderMpiTest, OneRankIsNot) {
  EXPECT_FALSE(With({{"OMPI_COMM_WORLD_SIZE", "1"}, {"PMIX_RANK", "0"}}));
  EXPECT_FALSE(With({{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}));
  // A step of one task in an allocation of many.
  EXPECT_FALSE(With({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "8"}}));
}

TEST(MpiLibraryVersion, NamesLibraryAndVersion) {
  EXPECT_THAT(MpiLibraryVersion(), testing::ContainsRegex("^[A-Za-z].* [0-9]+[.][0-9]+"));
  EXPECT_THAT(MpiLibraryVersion(), testing::Not(testing::HasSubstr("\n")));
}

}  // namespace
}  // namespace kvfold
