// launcher/device_choice.h: which device a rank computes on, and how ranks on GPUs move their
// data. Rules alone: what is here is found by comm/cuda/cuda_backend.h.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "comm/cuda/cuda_backend.h"

namespace kvfold {

enum class DeviceKind : uint8_t { kCpu, kCuda };

// --device: none asked for is the GPUs where there are any this program can run on, else the CPU.
// Throws InputError where GPUs are asked for and there are none, saying why.
DeviceKind ChooseDeviceKind(std::optional<DeviceKind> asked, const CudaProbe& probe);

// Of the GPUs that a process sees, the one of its host's host_rank-th rank: dealt round. Where a
// launcher shows every rank one GPU of its own, that one. Requires a GPU.
const CudaGpu& ChooseGpu(std::span<const CudaGpu> gpus, int host_rank);

// Where a rank is, as it tells the others.
struct RankPlace {
  char host[64] = {};
  char gpu_name[64] = {};
  char gpu_uuid[48] = {};
};
RankPlace MakeRankPlace(std::string_view host, const CudaGpu& gpu);

// The most ranks that any GPU has. GPUs are told apart by UUID: ordinals are a process's own.
// Throws InputError naming two ranks and their GPU where some share one and may not.
int RanksPerGpu(std::span<const RankPlace> ranks, bool may_share);

enum class Transport : uint8_t { kLocal, kNccl, kStaged };
const char* TransportName(Transport transport);  // as --transport has it

// NCCL as every rank sees it: 0 is none, 23007 is 2.30.7.
inline constexpr int kNcclThatSharesGpus = 23000;

// --transport: none asked for is NCCL for several ranks, nothing for one; where ranks share GPUs
// NCCL from 2.30 on, else staged. Throws InputError where what is asked for cannot be.
Transport ChooseTransport(std::optional<Transport> asked, int n_ranks, bool shares_gpus,
                          const CudaLibraryInfo& nccl);

}  // namespace kvfold
