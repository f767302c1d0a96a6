// tests/comm/mpi_test.cc: the properties of collectives among processes, under mpirun. Rank 0
// prints every rank's failures; the exit code is 1 if there is any.
//
//   comm_mpi_test         all properties, for sums by window and by messages, with short and long
//                         pieces
//   comm_mpi_test abort   the last rank calls Abort(7) while the others wait: mpirun must report 7
//   comm_mpi_test throw   the last rank leaves the session by an exception while the others wait:
//                         mpirun must report 1
#include "comm/mpi/mpi_communicator.h"

#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "comm/error.h"
#include "comm/mpi/shared_memory.h"
#include "tests/comm/collective_properties.h"

namespace kvfold {
namespace {

struct NoStream : Stream {
  void Synchronize() override {}
};

struct Variant {
  const char* name;
  MpiOptions options;
};

constexpr Variant kVariants[] = {
    {"auto", {}},
    {"window", {.sum = MpiOptions::Sum::kWindow}},
    {"messages", {.sum = MpiOptions::Sum::kMessages}},
    {"messages in pieces of a few bytes",
     {.sum = MpiOptions::Sum::kMessages, .largest_message_bytes = 60000}},
};

// Different sizes through the window are everybody's ShapeError, and the group goes on.
std::string WindowRefusesDifferentSizes(Communicator& c) {
  NoStream stream;
  std::string wrong;
  for (const int64_t larger : {2, 17, 5000, 200000}) {
    std::vector<float> data(larger, 1.0f);
    const bool is_last = c.rank() == c.size() - 1;
    const int64_t n = is_last ? larger : larger - 1;
    bool refused = false;
    try {
      c.AllReduceSum(F32View(data.data(), 1, n), stream);
    } catch (const ShapeError&) {
      refused = true;
    }
    if (refused != (c.size() > 1)) wrong += fmt::format("{} beside {} elements; ", n, larger);
    std::fill(data.begin(), data.end(), 1.0f);
    c.AllReduceSum(F32View(data.data(), 1, larger), stream);
    if (std::count(data.begin(), data.end(), static_cast<float>(c.size())) != larger) {
      wrong += "wrong sums afterwards; ";
    }
  }
  return wrong;
}

// Memory that all ranks map: zeros at first, what one writes all see, and where it cannot be had
// all ranks are told.
std::string SharedMemoryIsSharedOrRefused(Communicator& c) {
  std::string wrong;
  const std::vector<std::vector<std::string>> kinds = {
      {""}, {"/dev/shm"}, {"/tmp"}, {"/no/such/folder", "/proc", ""}};
  for (const auto& places : kinds) {
    for (const int64_t bytes : {int64_t{1}, int64_t{4096}, int64_t{600'000}}) {
      const internal::SharedMemory memory(MPI_COMM_WORLD, c.rank(), c.size(), bytes, places);
      const auto holds = [&](int rank, int value) {
        return std::all_of(memory.part(rank), memory.part(rank) + bytes,
                           [&](std::byte at) { return std::to_integer<int>(at) == value; });
      };
      for (int rank = 0; rank < c.size(); ++rank) {
        if (!holds(rank, 0)) wrong += fmt::format("{} bytes are no zeros; ", bytes);
      }
      c.Barrier();
      std::memset(memory.part(c.rank()), c.rank() + 1, static_cast<size_t>(bytes));
      c.Barrier();
      for (int rank = 0; rank < c.size(); ++rank) {
        if (!holds(rank, rank + 1)) wrong += fmt::format("part {} is not seen; ", rank);
      }
      c.Barrier();
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator("/tmp")) {
    // Its name has the process that made it: those of other jobs are theirs.
    if (entry.path().filename().string().starts_with(fmt::format("kvfold-{}-", getpid())))
      wrong += fmt::format("{} is left; ", entry.path().string());
  }
  for (const auto& [bytes, place] : {std::pair<int64_t, std::string>{int64_t{1} << 50, "/dev/shm"},
                                     {1, "/no/such/folder"},
                                     {1, "/proc"}}) {
    bool refused = false;
    try {
      internal::SharedMemory(MPI_COMM_WORLD, c.rank(), c.size(), bytes, {place});
    } catch (const CommError&) {
      refused = true;
    }
    if (!refused) wrong += fmt::format("{} bytes in \"{}\" were not refused; ", bytes, place);
  }
  return wrong;
}

// Every rank's text on every rank, so that rank 0 can print and all agree on the exit code.
int Report(Communicator& c, const std::string& what, const std::string& wrong) {
  constexpr size_t kTextBytes = 512;
  std::vector<char> own(kTextBytes, '\0');
  std::copy_n(wrong.begin(), std::min(wrong.size(), kTextBytes - 1), own.begin());
  std::vector<char> all(kTextBytes * c.size());
  c.AllGatherBytes(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)));
  int n_failed = 0;
  for (int rank = 0; rank < c.size(); ++rank) {
    const std::string_view text(all.data() + rank * kTextBytes);
    if (text.empty()) continue;
    ++n_failed;
    if (c.rank() == 0) fmt::print("FAILED {} on rank {}: {}\n", what, rank, text);
  }
  return n_failed;
}

int CheckAll(MpiSession& session) {
  int n_failed = 0;
  int n_checked = 0;
  for (const Variant& variant : kVariants) {
    const std::unique_ptr<Communicator> c = session.MakeCommunicator(variant.options);
    for (const CollectiveProperty& property : CollectiveProperties()) {
      n_failed +=
          Report(*c, fmt::format("{} ({})", property.name, variant.name), property.check(*c));
      ++n_checked;
    }
    if (variant.options.sum == MpiOptions::Sum::kWindow) {
      n_failed += Report(*c, "SharedMemoryIsSharedOrRefused", SharedMemoryIsSharedOrRefused(*c));
      n_failed += Report(*c, "WindowRefusesDifferentSizes", WindowRefusesDifferentSizes(*c));
    }
    std::string wrong;
    if (c->transport() != "mpi") wrong += "transport " + c->transport();
    if (session.host_size() != c->size() || session.host_rank() != c->rank()) {
      wrong +=
          fmt::format("rank {} of {} on this host; ", session.host_rank(), session.host_size());
    }
    if (StartedUnderMpi() != (c->size() > 1)) wrong += "StartedUnderMpi is wrong; ";
    n_failed += Report(*c, "places", wrong);
    const bool is_first = c->rank() == 0;
    if (is_first) fmt::print("{} ranks, {}: {} failed\n", c->size(), variant.name, n_failed);
    c->Close();
    c->Close();  // twice is legal
  }
  return n_failed == 0 && n_checked > 0 ? 0 : 1;
}

int Run(std::string_view mode) {
  MpiSession session;
  if (mode.empty()) return CheckAll(session);
  const std::unique_ptr<Communicator> c = session.MakeCommunicator();
  if (c->rank() == c->size() - 1) {
    if (mode == "abort") c->Abort("the last rank gives up", 7);
    throw InputError("the last rank throws");
  }
  NoStream stream;
  float value = 1.0f;
  c->AllReduceSum(F32View(&value, 1, 1), stream);  // waits for a rank that never comes
  return 0;
}

}  // namespace
}  // namespace kvfold

int main(int argc, char** argv) {
  try {
    return kvfold::Run(argc > 1 ? argv[1] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
