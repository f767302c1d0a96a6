// tests/comm/all_reduce_bench.cc: time of one sum over ranks by window, by messages and by
// MPI_Allreduce (which does not promise an order), interleaved in one run; rank 0 prints medians
// and the ratio to MPI_Allreduce.
//
//   mpirun -n 2 --bind-to none --oversubscribe --mca mpi_yield_when_idle 1 all_reduce_bench
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "comm/base/median.h"
#include "comm/mpi/mpi_communicator.h"

namespace kvfold {
namespace {

struct NoStream : Stream {
  void Synchronize() override {}
};

double Microseconds(int n_repeats, const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < n_repeats; ++i) body();
  const std::chrono::duration<double, std::micro> elapsed =
      std::chrono::steady_clock::now() - start;
  return elapsed.count() / n_repeats;
}

void Run() {
  MpiSession session;
  NoStream stream;
  const auto window = session.MakeCommunicator({.sum = MpiOptions::Sum::kWindow});
  const auto messages = session.MakeCommunicator({.sum = MpiOptions::Sum::kMessages});
  if (window->rank() == 0) {
    fmt::print(
        "{} ranks; microseconds a sum: window, messages, MPI_Allreduce; ratios to the last\n",
        window->size());
  }
  for (const int64_t bytes :
       {64, 1024, 4096, 8192, 16384, 65536, 131072, 524288, 1 << 20, 4 << 20, 16 << 20}) {
    std::vector<float> data(bytes / sizeof(float), 0.0f);
    const TensorView view = F32View(data.data(), 1, static_cast<int64_t>(data.size()));
    const std::function<void()> bodies[] = {
        [&] { window->AllReduceSum(view, stream); }, [&] { messages->AllReduceSum(view, stream); },
        [&] {
          MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(data.size()), MPI_FLOAT,
                        MPI_SUM, MPI_COMM_WORLD);
        }};
    const int n_repeats = static_cast<int>(std::clamp<int64_t>((4 << 20) / bytes, 3, 500));
    std::vector<double> times[3];
    for (int round = 0; round < 21; ++round) {
      for (int kind = 0; kind < 3; ++kind) {
        window->Barrier();
        times[kind].push_back(Microseconds(n_repeats, bodies[kind]));
      }
    }
    if (window->rank() == 0) {
      const double reference = Median(times[2]);
      fmt::print("{:>9} bytes {:>10.2f} {:>10.2f} {:>10.2f}   {:.2f} {:.2f}\n", bytes,
                 Median(times[0]), Median(times[1]), reference, Median(times[0]) / reference,
                 Median(times[1]) / reference);
    }
  }
  messages->Close();
  window->Close();
}

}  // namespace
}  // namespace kvfold

int main() { kvfold::Run(); }
