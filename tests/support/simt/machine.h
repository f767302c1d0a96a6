// tests/support/simt/machine.h: what the emulated intrinsics ask of the running block.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvfold::simt {

struct Position {
  int thread = 0;
  int block_x = 0;
  int block_y = 0;
  int block_threads = 0;
};
const Position& Here();  // of the running thread
unsigned char* SharedBase();

enum class Space { kDevice, kShared };
// Throws SimtError unless [at, at + bytes) lies in memory of that kind and `at` is aligned to
// `bytes`.
void CheckAccess(Space space, const void* at, size_t bytes, const char* what);

void BlockBarrier();

// A warp collective: every lane brings up to four words and takes up to four. When the last lane
// has come, `run` is called once with all lanes' words, [32][kWords] in and out; `more` is the last
// lane's.
inline constexpr int kCollectiveWords = 12;
using CollectiveFunction = void (*)(const uint32_t (*in)[kCollectiveWords],
                                    uint32_t (*out)[kCollectiveWords], uint64_t more);
void WarpCollective(CollectiveFunction run, const uint32_t* in, int n_in, uint32_t* out, int n_out,
                    uint64_t more);

void StartCopy16(void* shared, const void* device);
void CommitCopies();
void AwaitCopies(int pending_groups);

}  // namespace kvfold::simt
