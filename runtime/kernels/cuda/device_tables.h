// runtime/kernels/cuda/device_tables.h: the batch tables that lie on the device: one for each of
// the last few layer groups, uploaded when a step's batch is a new one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "comm/error.h"
#include "runtime/kernels/cuda/batch_table.h"
#include "runtime/kernels/cuda/cuda_sizing.h"
#include "runtime/kernels/cuda/executor.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cuda {

// memory: CudaSizing::kTables * kTableBytes of the device.
class DeviceTables {
 public:
  DeviceTables(Executor& executor, std::byte* memory) : executor_(executor), memory_(memory) {}

  struct Place {
    const BatchTable* table = nullptr;
    const std::byte* memory = nullptr;
    BatchTable::Offsets at;
  };
  // Uploads the batch unless one of the tables holds it.
  Place Of(int64_t rows, const AttentionHeads& heads, std::span<const SequenceRows> sequences,
           const BatchKind& kind) {
    // Layers of a group come one after the other, groups by turns: the last table that was of this
    // window is the likeliest.
    const int64_t window = sequences.empty() ? 0 : sequences[0].view.window;
    size_t index = 0;
    while (index < windows_.size() && windows_[index] != window) ++index;
    if (index == windows_.size()) {
      index = next_;
      next_ = (next_ + 1) % windows_.size();
      windows_[index] = window;
    }
    BatchTable& table = tables_[index];
    std::byte* const to = memory_ + static_cast<int64_t>(index) * CudaSizing::kTableBytes;
    const bool is_new = table.Describe(rows, heads, sequences, kind);
    const BatchTable::Offsets at = table.offsets();
    if (is_new && at.end > 0) {
      if (at.end > CudaSizing::kTableBytes) {
        tables_[index] = BatchTable();
        throw CapacityError(fmt::format(
            "a step of {} sequences and {} rows takes {} bytes of tables, there is room for {}",
            sequences.size(), rows, at.end, CudaSizing::kTableBytes));
      }
      const std::span<std::byte> room = executor_.AcquireUpload(at.end);
      table.Write(room.data());
      executor_.SubmitUpload(room, to, at.end);
    }
    return {&table, to, at};
  }

 private:
  Executor& executor_;
  std::byte* memory_;
  std::array<BatchTable, CudaSizing::kTables> tables_;
  std::array<int64_t, CudaSizing::kTables> windows_ = {-1, -1, -1, -1};
  size_t next_ = 0;
};

}  // namespace kvfold::cuda
