#include "launcher/ranks/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <stdexcept>

#include "comm/error.h"
#include "comm/local/local_group.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

TEST(Fault, Parses) {
  const Fault step = ParseFault("rank=1,step=3,layer=2,do=sleep");
  EXPECT_EQ(step.rank, 1);
  EXPECT_EQ(step.step, 3);
  EXPECT_EQ(step.layer, 2);
  EXPECT_EQ(step.kind, Fault::Kind::kSleep);
  const Fault tensor = ParseFault("do=alloc,tensor=4,rank=0");
  EXPECT_EQ(tensor.rank, 0);
  EXPECT_EQ(tensor.step, 0);
  EXPECT_EQ(tensor.layer, 4);
  EXPECT_EQ(tensor.kind, Fault::Kind::kAlloc);
}

TEST(Fault, RefusesWhatItCannotRead) {
  for (const auto& [text, word] : std::vector<std::pair<std::string, std::string>>{
           {"", "\"\""},
           {"rank", "\"rank\""},
           {"rank=1", "missing"},
           {"rank=1,step=3,layer=2", "do is missing"},
           {"rank=1,step=3,layer=2,do=jump", "jump"},
           {"rank=1,step=3,layer=2,do=", "do is"},
           {"rank=-1,step=3,layer=2,do=kill", "-1"},
           {"rank=1,step=0,layer=2,do=kill", "step is \"0\""},
           {"rank=1,step=1x,layer=2,do=kill", "1x"},
           {"rank=1,step=99999999999999999999,layer=2,do=kill", "step is"},
           {"rank=1,tensor=0,do=kill", "tensor is"},
           {"rank=1,tensor=1,step=1,layer=0,do=kill", "unknown"},
           {"rank=1,step=3,layer=2,do=kill,", "\"\""},
           {"rank=1,step=3,layer=2,do=kill,rank=1", "twice"},
           {"rank=1,step=3,layer=2,do=kill,colour=1", "colour is unknown"}}) {
    try {
      ParseFault(text);
      ADD_FAILURE() << text;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(word)) << text;
      EXPECT_THAT(error.what(), HasSubstr("KVFOLD_FAULT")) << text;
    }
  }
}

TEST(Fault, HappensOnItsRankAtItsPlaceAlone) {
  RunLocalRanks(2, [](Communicator& communicator) {
    if (communicator.rank() == 0) setenv("KVFOLD_FAULT", "rank=1,step=2,layer=1,do=throw", 1);
    communicator.Barrier();
    InstallFault(communicator);
    RankProgress& progress = communicator.progress();
    for (int tensor = 0; tensor < 3; ++tensor) progress.TensorLoaded();
    progress.BeginStep();
    for (int layer = 0; layer < 3; ++layer) progress.BeginLayer(layer);
    progress.BeginStep();
    progress.BeginLayer(0);
    if (communicator.rank() == 1) {
      EXPECT_THROW(progress.BeginLayer(1), std::runtime_error);
    } else {
      progress.BeginLayer(1);
    }
    progress.BeginLayer(2);
    communicator.Barrier();
  });
  setenv("KVFOLD_FAULT", "rank=0,tensor=2,do=alloc", 1);
  RunLocalRanks(1, [](Communicator& communicator) {
    InstallFault(communicator);
    communicator.progress().TensorLoaded();
    EXPECT_THROW(communicator.progress().TensorLoaded(), std::bad_alloc);
  });
  setenv("KVFOLD_FAULT", "rank=1,tensor=2,do=alloc", 1);
  RunLocalRanks(
      1, [](Communicator& communicator) { EXPECT_THROW(InstallFault(communicator), InputError); });
  unsetenv("KVFOLD_FAULT");
}

}  // namespace
}  // namespace kvfold
