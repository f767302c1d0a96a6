#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "comm/mpi/mpi_communicator.h"

namespace kvfold {
namespace {

constexpr const char* kVariables[] = {"OMPI_COMM_WORLD_SIZE",
                                      "OMPI_COMM_WORLD_RANK",
                                      "PMI_SIZE",
                                      "PMI_RANK",
                                      "PMI_FD",
                                      "PMI_PORT",
                                      "PMI_CONTROL_PORT",
                                      "PMI_CONTROL_FD",
                                      "PMIX_RANK",
                                      "PMIX_SERVER_URI",
                                      "PMIX_SERVER_URI2",
                                      "PMIX_SERVER_URI21",
                                      "PMIX_SERVER_URI3",
                                      "PMIX_SERVER_URI4",
                                      "PMIX_SERVER_URI41",
                                      "PMIX_SERVER_TMPDIR",
                                      "SLURM_STEP_ID",
                                      "SLURM_STEP_NUM_TASKS",
                                      "SLURM_NTASKS"};

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
  using Environment = std::map<std::string, std::string>;
  static bool With(const Environment& environment) {
    for (const char* const variable : kVariables) unsetenv(variable);
    for (const auto& [variable, value] : environment) {
      setenv(variable.c_str(), value.c_str(), 1);
    }
    return StartedUnderMpi();
  }
  static int RankWith(const Environment& environment) {
    With(environment);
    return RankFromEnvironment();
  }
  static std::string WarningWith(const Environment& environment) {
    With(environment);
    return LoneRankWarning();
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

TEST_F(StartedUnderMpiTest, ARankIsOneOfALauncherThatIsThere) {
  const std::string here = std::filesystem::temp_directory_path();
  const Environment mpirun = {{"OMPI_COMM_WORLD_RANK", "1"},
                              {"OMPI_COMM_WORLD_SIZE", "3"},
                              {"PMIX_RANK", "1"},
                              {"PMIX_SERVER_URI21", "1.0;tcp4://127.0.0.1:1"}};
  const auto also = [](Environment environment, const std::string& name, const std::string& value) {
    environment[name] = value;
    return environment;
  };
  EXPECT_EQ(RankWith(mpirun), 1);
  EXPECT_EQ(RankWith(also(mpirun, "PMIX_SERVER_TMPDIR", here)), 1);
  EXPECT_EQ(RankWith({{"PMIX_RANK", "2"}, {"SLURM_NTASKS", "4"}, {"PMIX_SERVER_URI2", "x"}}), 2);
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const Environment mpiexec = {
      {"PMI_RANK", "3"}, {"PMI_SIZE", "4"}, {"PMI_FD", std::to_string(sockets[0])}};
  EXPECT_EQ(RankWith(mpiexec), 3);
  EXPECT_EQ(RankWith({{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}, {"PMI_PORT", "host:1"}}), 3);

  // What outlived its launcher, or never had one.
  EXPECT_EQ(RankWith(also(mpirun, "PMIX_SERVER_TMPDIR", "/no/such/folder")), 0);
  EXPECT_EQ(RankWith(also(mpirun, "OMPI_COMM_WORLD_SIZE", "1")), 0);
  EXPECT_EQ(RankWith({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}}), 0);
  for (const char* const variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"})
    EXPECT_EQ(RankWith({{variable, "1"}}), 0) << variable;
  EXPECT_EQ(RankWith({{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}}), 0);
  close(sockets[0]);
  close(sockets[1]);
  EXPECT_EQ(RankWith(mpiexec), 0);
  const int file = open("/dev/null", O_RDONLY);
  EXPECT_EQ(RankWith(also(mpiexec, "PMI_FD", std::to_string(file))), 0);
  close(file);
}

TEST_F(StartedUnderMpiTest, ALoneProcessIsToldOfOthersThatItDoesNotKnow) {
  using testing::AllOf;
  using testing::HasSubstr;
  EXPECT_EQ(WarningWith({}), "");
  EXPECT_EQ(WarningWith({{"OMPI_COMM_WORLD_SIZE", "1"}}), "");
  EXPECT_THAT(WarningWith({{"OMPI_COMM_WORLD_SIZE", "2"}}),
              AllOf(HasSubstr("OMPI_COMM_WORLD_SIZE"), HasSubstr("2 ranks")));
  EXPECT_THAT(WarningWith({{"PMI_SIZE", "3"}, {"PMI_RANK", "0"}}), HasSubstr("PMI_SIZE"));
  const Environment srun = {{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "4"}};
  EXPECT_THAT(WarningWith(srun), AllOf(HasSubstr("srun"), HasSubstr("4 copies")));
  // Steps of one task, shells and scripts of an allocation, and mpirun -n 1 within a step.
  EXPECT_EQ(WarningWith({{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}), "");
  EXPECT_EQ(WarningWith({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_NTASKS", "4"}}), "");
  EXPECT_EQ(WarningWith({{"SLURM_STEP_ID", "4294967290"}, {"SLURM_STEP_NUM_TASKS", "4"}}), "");
  Environment nested = srun;
  nested["OMPI_COMM_WORLD_SIZE"] = "1";
  EXPECT_EQ(WarningWith(nested), "");
}

TEST(MpiLibraryVersion, NamesLibraryAndVersion) {
  EXPECT_THAT(MpiLibraryVersion(), testing::ContainsRegex("^[A-Za-z].* [0-9]+[.][0-9]+"));
  EXPECT_THAT(MpiLibraryVersion(), testing::Not(testing::HasSubstr("\n")));
}

}  // namespace
}  // namespace kvfold
