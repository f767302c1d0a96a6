#include "tests/support/simt/simt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "tests/support/simt/fiber.h"
#include "tests/support/simt/machine.h"

namespace kvfold::simt {
namespace {

constexpr int kLanes = 32;
constexpr int64_t kSharedGuardBytes = 256;

enum class Wait { kNothing, kBarrier, kWarp, kOver };

struct Copy {
  unsigned char* to;
  const unsigned char* from;
};

struct Thread {
  Fiber fiber;
  Position position;
  Wait wait = Wait::kNothing;
  std::vector<Copy> open_group;
  std::deque<std::vector<Copy>> groups;
};

struct Warp {
  CollectiveFunction running = nullptr;
  int n_arrived = 0;
  std::array<bool, kLanes> here{};
  uint32_t in[kLanes][kCollectiveWords];
  uint32_t out[kLanes][kCollectiveWords];
};

struct Block {
  const std::function<void()>* body = nullptr;
  Schedule schedule;
  int n_threads = 0;
  int n_at_barrier = 0;
  std::vector<std::unique_ptr<Thread>> threads;  // kept between launches for their stacks
  std::vector<Warp> warps;
  std::vector<unsigned char> shared;
  int64_t shared_bytes = 0;
  Thread* running = nullptr;
  std::exception_ptr failure;

  unsigned char* shared_base() {
    const auto at = reinterpret_cast<uintptr_t>(shared.data()) + kSharedGuardBytes;
    return reinterpret_cast<unsigned char*>((at + 127) / 128 * 128);
  }
};

// Held by the thread that launches, and by whoever registers memory.
std::mutex& Gate() {
  static std::mutex gate;
  return gate;
}

Block& TheBlock() {
  static Block block;
  return block;
}

std::map<const unsigned char*, int64_t>& Registered() {
  static std::map<const unsigned char*, int64_t> memory;
  return memory;
}

std::string Name(const Position& position) {
  return fmt::format("block ({}, {}) thread {}", position.block_x, position.block_y,
                     position.thread);
}

void Enter(void* context) {
  auto* const thread = static_cast<Thread*>(context);
  Block& block = TheBlock();
  try {
    (*block.body)();
    if (!thread->groups.empty() || !thread->open_group.empty()) {
      throw SimtError(Name(thread->position) + " ends with copies in flight");
    }
  } catch (...) {
    if (!block.failure) block.failure = std::current_exception();
  }
  thread->wait = Wait::kOver;
  thread->fiber.Leave();
}

void LeaveUntilReady(Wait wait) {
  Thread& thread = *TheBlock().running;
  thread.wait = wait;
  thread.fiber.Leave();
}

bool RunWarp(Block& block, int warp) {
  bool any = false;
  for (bool ran = true; ran;) {
    ran = false;
    for (int lane = 0; lane < kLanes; ++lane) {
      Thread& thread = *block.threads[static_cast<size_t>(warp * kLanes + lane)];
      if (thread.wait != Wait::kNothing) continue;
      block.running = &thread;
      thread.fiber.Resume();
      if (block.failure) std::rethrow_exception(std::exchange(block.failure, nullptr));
      ran = any = true;
    }
  }
  return any;
}

void RunBlock(Block& block) {
  std::memset(block.shared_base() - kSharedGuardBytes, 0xff,
              static_cast<size_t>(block.shared_bytes + 2 * kSharedGuardBytes));
  const int n_warps = block.n_threads / kLanes;
  for (bool any = true; any;) {
    any = false;
    for (int i = 0; i < n_warps; ++i) {
      any |= RunWarp(block, block.schedule.last_warp_first ? n_warps - 1 - i : i);
    }
  }
  for (int i = 0; i < block.n_threads; ++i) {
    const Thread& thread = *block.threads[static_cast<size_t>(i)];
    if (thread.wait == Wait::kOver) continue;
    throw SimtError(fmt::format("{} waits for ever at a {} that not all reach",
                                Name(thread.position),
                                thread.wait == Wait::kBarrier ? "barrier" : "warp collective"));
  }
}

void Land(const std::vector<Copy>& group) {
  for (const Copy& copy : group) std::memcpy(copy.to, copy.from, 16);
}

}  // namespace

void Launch(const LaunchShape& shape, const Schedule& schedule, const std::function<void()>& body) {
  if (shape.threads < kLanes || shape.threads % kLanes != 0 || shape.threads > 1024 ||
      shape.grid_x < 1 || shape.grid_y < 1 || shape.grid_y > 65535) {
    throw SimtError(fmt::format("a launch of {} x {} blocks of {} threads", shape.grid_x,
                                shape.grid_y, shape.threads));
  }
  const std::lock_guard lock(Gate());
  Block& block = TheBlock();
  block.body = &body;
  block.schedule = schedule;
  block.n_threads = shape.threads;
  block.shared_bytes = shape.shared_bytes;
  block.shared.resize(static_cast<size_t>(shape.shared_bytes + 2 * kSharedGuardBytes + 256));
  while (block.threads.size() < static_cast<size_t>(shape.threads)) {
    block.threads.push_back(std::make_unique<Thread>());
  }
  for (int y = 0; y < shape.grid_y; ++y) {
    for (int x = 0; x < shape.grid_x; ++x) {
      block.warps.assign(static_cast<size_t>(shape.threads / kLanes), Warp{});
      block.n_at_barrier = 0;
      block.failure = nullptr;
      for (int i = 0; i < shape.threads; ++i) {
        Thread& thread = *block.threads[static_cast<size_t>(i)];
        thread.position = {i, x, y, shape.threads};
        thread.wait = Wait::kNothing;
        thread.open_group.clear();
        thread.groups.clear();
        thread.fiber.Start(&Enter, &thread);
      }
      RunBlock(block);
    }
  }
}

void RegisterMemory(const void* data, int64_t bytes) {
  const std::lock_guard lock(Gate());
  if (bytes > 0) Registered()[static_cast<const unsigned char*>(data)] = bytes;
}

void UnregisterMemory(const void* data) {
  const std::lock_guard lock(Gate());
  Registered().erase(static_cast<const unsigned char*>(data));
}

const Position& Here() { return TheBlock().running->position; }

unsigned char* SharedBase() { return TheBlock().shared_base(); }

void CheckAccess(Space space, const void* at, size_t bytes, const char* what) {
  const auto* const begin = static_cast<const unsigned char*>(at);
  Block& block = TheBlock();
  const auto refuse = [&](const char* why) {
    throw SimtError(fmt::format("{}: {} of {} bytes {}", Name(Here()), what, bytes, why));
  };
  if (reinterpret_cast<uintptr_t>(at) % bytes != 0) refuse("is not aligned to its size");
  const unsigned char* const shared = block.shared_base();
  const bool in_shared = begin >= shared && begin + bytes <= shared + block.shared_bytes;
  if (space == Space::kShared) {
    if (!in_shared) refuse("is outside of shared memory");
    return;
  }
  // Accesses come in runs: the range of the last one is looked at first.
  static thread_local const unsigned char* last_begin = nullptr;
  static thread_local const unsigned char* last_end = nullptr;
  const auto& memory = Registered();
  if (begin >= last_begin && begin + bytes <= last_end) {
    const auto still = memory.find(last_begin);
    if (still != memory.end() && last_begin + still->second == last_end) return;
  }
  auto after = memory.upper_bound(begin);
  if (after == memory.begin()) refuse("is outside of device memory");
  --after;
  if (begin + bytes > after->first + after->second) refuse("is outside of device memory");
  last_begin = after->first;
  last_end = after->first + after->second;
}

void BlockBarrier() {
  Block& block = TheBlock();
  if (++block.n_at_barrier < block.n_threads) {
    LeaveUntilReady(Wait::kBarrier);
    return;
  }
  block.n_at_barrier = 0;
  for (int i = 0; i < block.n_threads; ++i) {
    Thread& thread = *block.threads[static_cast<size_t>(i)];
    if (thread.wait == Wait::kBarrier) thread.wait = Wait::kNothing;
  }
}

void WarpCollective(CollectiveFunction run, const uint32_t* in, int n_in, uint32_t* out, int n_out,
                    uint64_t more) {
  Block& block = TheBlock();
  const int index = block.running->position.thread;
  Warp& warp = block.warps[static_cast<size_t>(index / kLanes)];
  const auto lane = static_cast<size_t>(index % kLanes);
  if (warp.n_arrived > 0 && warp.running != run) {
    throw SimtError(Name(block.running->position) + " calls another warp collective than its warp");
  }
  warp.running = run;
  std::copy_n(in, n_in, warp.in[lane]);
  if (++warp.n_arrived < kLanes) {
    LeaveUntilReady(Wait::kWarp);
  } else {
    run(warp.in, warp.out, more);
    warp.n_arrived = 0;
    const int first = index / kLanes * kLanes;
    for (int i = first; i < first + kLanes; ++i) {
      Thread& thread = *block.threads[static_cast<size_t>(i)];
      if (thread.wait == Wait::kWarp) thread.wait = Wait::kNothing;
    }
  }
  std::copy_n(warp.out[lane], n_out, out);
}

void StartCopy16(void* shared, const void* device) {
  CheckAccess(Space::kShared, shared, 16, "an asynchronous copy's write");
  CheckAccess(Space::kDevice, device, 16, "an asynchronous copy's read");
  const Copy copy{static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(device)};
  Block& block = TheBlock();
  block.running->open_group.push_back(copy);
  if (block.schedule.copies_land_late) {
    std::memset(shared, 0xff, 16);  // whoever still reads what was here sees it
  } else {
    Land({copy});
  }
}

void CommitCopies() {
  Thread& thread = *TheBlock().running;
  thread.groups.push_back(std::move(thread.open_group));
  thread.open_group.clear();
}

void AwaitCopies(int pending_groups) {
  Thread& thread = *TheBlock().running;
  while (static_cast<int>(thread.groups.size()) > pending_groups) {
    if (TheBlock().schedule.copies_land_late) Land(thread.groups.front());
    thread.groups.pop_front();
  }
}

}  // namespace kvfold::simt
