// NCCL's communicator over functions that stand in for NCCL's: what is asked of the library, and
// what becomes of its answers. Needs no GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "comm/local/local_group.h"
#include "comm/nccl/nccl_communicator.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct NoStream : Stream {
  void Synchronize() override {}
};
CUstream_st* AddressOf(Stream& stream) { return reinterpret_cast<CUstream_st*>(&stream); }

// What the stand-in was asked, and is to answer. One group at a time.
struct Script {
  std::atomic<int> n_in_progress{0};  // answers of "in progress" before the result
  ncclResult_t id_result = ncclSuccess;
  ncclResult_t init_result = ncclSuccess;
  ncclResult_t call_result = ncclSuccess;
  std::atomic<ncclResult_t> async_result{ncclSuccess};
  std::atomic<bool> never_done{false};
  std::chrono::milliseconds abort_takes{0};

  std::atomic<int> n_calls{0}, n_aborts{0}, n_finalized{0}, n_destroyed{0};
  ncclConfig_t config{};
  const void* in = nullptr;
  void* out = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclInt8;
  cudaStream_t stream = nullptr;
};
Script* script = nullptr;
int communicator = 0;  // whose address stands for NCCL's

ncclResult_t Answer(ncclResult_t result) {
  return script->never_done || script->n_in_progress > 0 ? ncclInProgress : result;
}

const NcclLibrary& StandIn() {
  static const NcclLibrary library = [] {
    NcclLibrary made;
    made.path = "a stand-in";
    made.ncclGetVersion = [](int* version) {
      *version = 23007;
      return ncclSuccess;
    };
    made.ncclGetUniqueId = [](ncclUniqueId* id) {
      id->internal[0] = 'k';
      return script->id_result;
    };
    made.ncclCommInitRankConfig = [](ncclComm_t* comm, int, ncclUniqueId id, int,
                                     ncclConfig_t* config) {
      EXPECT_EQ(id.internal[0], 'k') << "not the id of rank 0";
      *comm = reinterpret_cast<ncclComm_t>(&communicator);
      script->config = *config;
      return Answer(script->init_result);
    };
    made.ncclCommGetAsyncError = [](ncclComm_t, ncclResult_t* state) {
      *state = Answer(script->async_result);
      if (script->n_in_progress > 0) --script->n_in_progress;
      return ncclSuccess;
    };
    made.ncclCommFinalize = [](ncclComm_t) {
      ++script->n_finalized;
      return Answer(ncclSuccess);
    };
    made.ncclCommDestroy = [](ncclComm_t) {
      ++script->n_destroyed;
      return ncclSuccess;
    };
    made.ncclCommAbort = [](ncclComm_t) {
      ++script->n_aborts;
      std::this_thread::sleep_for(script->abort_takes);
      return ncclSuccess;
    };
    made.ncclGetErrorString = [](ncclResult_t result) -> const char* {
      return result == ncclRemoteError ? "remote process exited" : "unhandled cuda error";
    };
    made.ncclGetLastError = [](ncclComm_t) -> const char* { return "the last words"; };
    made.ncclAllReduce = [](const void* in, void* out, size_t count, ncclDataType_t type,
                            ncclRedOp_t operation, ncclComm_t, cudaStream_t stream) {
      EXPECT_EQ(operation, ncclSum);
      ++script->n_calls;
      script->in = in;
      script->out = out;
      script->count = count;
      script->type = type;
      script->stream = stream;
      return Answer(script->call_result);
    };
    made.ncclAllGather = [](const void* in, void* out, size_t count, ncclDataType_t type,
                            ncclComm_t, cudaStream_t stream) {
      ++script->n_calls;
      script->in = in;
      script->out = out;
      script->count = count;
      script->type = type;
      script->stream = stream;
      return Answer(script->call_result);
    };
    return made;
  }();
  return library;
}

class Nccl : public testing::Test {
 protected:
  void SetUp() override { script = &script_; }
  void TearDown() override { script = nullptr; }

  // One rank, whose host is a group of threads.
  void Run(const std::function<void(Communicator&, Stream&)>& body, NcclOptions options = {}) {
    options.native_stream = AddressOf;
    RunLocalRanks(1, [&](Communicator& host) {
      NoStream stream;
      const auto nccl = MakeNcclCommunicator(host, StandIn(), options);
      body(*nccl, stream);
    });
  }
  static std::string WhatOf(const std::function<void()>& call) {
    try {
      call();
    } catch (const CommError& error) {
      return error.what();
    }
    return "no error";
  }

  Script script_;
  std::vector<float> view_ = std::vector<float>(6);
};

TEST_F(Nccl, MeetsWithoutBlockingAndLeavesInOrder) {
  script_.n_in_progress = 5;
  Run([&](Communicator& nccl, Stream&) {
    EXPECT_EQ(script_.n_in_progress, 0) << "it did not wait for the others";
    EXPECT_EQ(script_.config.blocking, 0);
    EXPECT_EQ(script_.config.maxCTAs, NCCL_CONFIG_UNDEF_INT);
    EXPECT_EQ(nccl.transport(), "nccl 2.30.7");
    EXPECT_EQ(nccl.size(), 1);
    EXPECT_TRUE(nccl.SumsBf16());
    script_.n_in_progress = 2;
    nccl.Close();
    EXPECT_EQ(script_.n_in_progress, 0) << "it was destroyed before it was done";
    nccl.Close();
  });
  EXPECT_EQ(script_.n_finalized, 1);
  EXPECT_EQ(script_.n_destroyed, 1);
  EXPECT_EQ(script_.n_aborts, 0);
}

TEST_F(Nccl, SharedGpusAskForFewBlocks) {
  unsetenv("NCCL_MULTI_RANK_GPU_ENABLE");
  Run(
      [&](Communicator& nccl, Stream&) {
        EXPECT_STREQ(std::getenv("NCCL_MULTI_RANK_GPU_ENABLE"), "1");
        EXPECT_GT(script_.config.maxCTAs, 0);
        EXPECT_LE(script_.config.maxCTAs, 8);
        EXPECT_EQ(nccl.transport(), "nccl 2.30.7, shared GPUs");
      },
      {.shares_devices = true});
  unsetenv("NCCL_MULTI_RANK_GPU_ENABLE");
  unsetenv("NCCL_NVLS_ENABLE");
}

TEST_F(Nccl, SumsOnTheStreamInPlace) {
  Run([&](Communicator& nccl, Stream& stream) {
    nccl.AllReduceSum(F32View(view_.data(), 2, 3), stream);
    EXPECT_EQ(script_.in, view_.data());
    EXPECT_EQ(script_.out, view_.data());
    EXPECT_EQ(script_.count, 6u);
    EXPECT_EQ(script_.type, ncclFloat32);
    EXPECT_EQ(script_.stream, AddressOf(stream));
    nccl.AllReduceSum({view_.data(), DType::kBF16, 2, 5, 5}, stream);
    EXPECT_EQ(script_.count, 10u);
    EXPECT_EQ(script_.type, ncclBfloat16);
    EXPECT_EQ(script_.n_calls, 2);
    nccl.AllReduceSum(F32View(view_.data(), 0, 3), stream);
    EXPECT_EQ(script_.n_calls, 2) << "an empty view was sent";
    EXPECT_THROW(nccl.AllReduceSum({view_.data(), DType::kI8, 1, 6, 6}, stream), ShapeError);
    EXPECT_THROW(nccl.AllReduceSum({view_.data(), DType::kF32, 2, 2, 3}, stream), ShapeError);
    EXPECT_EQ(script_.n_calls, 2);
  });
}

TEST_F(Nccl, GathersElementsOfOneRank) {
  Run([&](Communicator& nccl, Stream& stream) {
    std::vector<float> out(6);
    nccl.AllGather(F32View(view_.data(), 2, 3), F32View(out.data(), 2, 3), stream);
    EXPECT_EQ(script_.in, view_.data());
    EXPECT_EQ(script_.out, out.data());
    EXPECT_EQ(script_.count, 6u);
    EXPECT_THROW(nccl.AllGather(F32View(view_.data(), 1, 3), F32View(out.data(), 2, 3), stream),
                 ShapeError);
  });
}

TEST_F(Nccl, AwaitsACallUnderWay) {
  Run([&](Communicator& nccl, Stream& stream) {
    script_.n_in_progress = 3;
    nccl.AllReduceSum(F32View(view_.data(), 2, 3), stream);
    EXPECT_EQ(script_.n_in_progress, 0);
  });
}

TEST_F(Nccl, ErrorsNameOperationRankAndWords) {
  Run([&](Communicator& nccl, Stream& stream) {
    script_.call_result = ncclUnhandledCudaError;
    EXPECT_THAT(WhatOf([&] { nccl.AllReduceSum(F32View(view_.data(), 2, 3), stream); }),
                AllOf(HasSubstr("all-reduce"), HasSubstr("rank 0"),
                      HasSubstr("unhandled cuda error"), HasSubstr("the last words")));
    // In progress first, an error then.
    script_.call_result = ncclSuccess;
    script_.n_in_progress = 2;
    script_.async_result = ncclRemoteError;
    EXPECT_THAT(WhatOf([&] { nccl.AllReduceSum(F32View(view_.data(), 2, 3), stream); }),
                HasSubstr("remote process exited"));
    script_.async_result = ncclSuccess;
  });
}

TEST_F(Nccl, TellsAnErrorThatCameLater) {
  Run([&](Communicator& nccl, Stream& stream) {
    nccl.AllReduceSum(F32View(view_.data(), 2, 3), stream);
    EXPECT_EQ(nccl.PollAsyncError(), "");
    script_.async_result = ncclInProgress;
    EXPECT_EQ(nccl.PollAsyncError(), "");
    script_.async_result = ncclRemoteError;
    EXPECT_THAT(nccl.PollAsyncError(),
                AllOf(HasSubstr("rank 0"), HasSubstr("remote process exited")));
    script_.async_result = ncclSuccess;
  });
}

TEST_F(Nccl, AnAbortFromAnotherThreadEndsACall) {
  EXPECT_THROW(Run([&](Communicator& nccl, Stream& stream) {
                 script_.never_done = true;
                 std::thread watcher([&] {
                   std::this_thread::sleep_for(std::chrono::milliseconds(50));
                   nccl.Abort("rank 1 has gone", 1);
                 });
                 const std::string what =
                     WhatOf([&] { nccl.AllReduceSum(F32View(view_.data(), 2, 3), stream); });
                 watcher.join();
                 EXPECT_THAT(what, HasSubstr("aborted"));
                 EXPECT_EQ(nccl.PollAsyncError(), "");
                 EXPECT_THAT(
                     WhatOf([&] { nccl.AllReduceSum(F32View(view_.data(), 2, 3), stream); }),
                     HasSubstr("aborted"));
                 nccl.Barrier();  // the host's group is aborted as well
               }),
               CommError);
  EXPECT_EQ(script_.n_aborts, 1);
  EXPECT_EQ(script_.n_destroyed, 0) << "aborting has freed it";
}

TEST_F(Nccl, AnAbortThatHangsHoldsNobodyUp) {
  script_.abort_takes = std::chrono::milliseconds(3500);
  const auto begin = std::chrono::steady_clock::now();
  Run([&](Communicator& nccl, Stream&) { nccl.Abort("", 1); });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(3300));
  std::this_thread::sleep_for(std::chrono::milliseconds(2000));  // it still reads the script
}

TEST_F(Nccl, RanksThatDoNotMeetAreAnError) {
  script_.never_done = true;
  EXPECT_THAT(WhatOf([&] {
                Run([](Communicator&, Stream&) {}, {.meeting = std::chrono::milliseconds(100)});
              }),
              HasSubstr("did not meet in time"));
  EXPECT_EQ(script_.n_aborts, 1);
}

TEST_F(Nccl, AFailedMeetingIsAnError) {
  script_.init_result = ncclUnhandledCudaError;
  EXPECT_THAT(WhatOf([&] { Run([](Communicator&, Stream&) {}); }),
              AllOf(HasSubstr("meeting of the ranks"), HasSubstr("unhandled cuda error")));
}

TEST_F(Nccl, NoIdIsEverybodysError) {
  script_.id_result = ncclUnhandledCudaError;
  std::atomic<int> n_errors{0};
  RunLocalRanks(3, [&](Communicator& host) {
    EXPECT_THAT(
        WhatOf([&] { MakeNcclCommunicator(host, StandIn(), {.native_stream = AddressOf}); }),
        HasSubstr("NCCL gives no id"));
    ++n_errors;
  });
  EXPECT_EQ(n_errors, 3);
}

TEST(NcclVersionText, IsDotted) {
  EXPECT_EQ(NcclVersionText(23007), "2.30.7");
  EXPECT_EQ(NcclVersionText(22809), "2.28.9");
}

}  // namespace
}  // namespace kvfold
