#include "launcher/device_choice.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "comm/error.h"

namespace kvfold {
namespace {

template <size_t kSize>
void CopyText(std::string_view text, char (&to)[kSize]) {
  std::memcpy(to, text.data(), std::min(text.size(), kSize - 1));
}

}  // namespace

DeviceKind ChooseDeviceKind(std::optional<DeviceKind> asked, const CudaProbe& probe) {
  if (asked == DeviceKind::kCpu || (!asked && probe.gpus.empty())) return DeviceKind::kCpu;
  if (probe.gpus.empty())
    throw InputError(fmt::format("--device cuda: {}; --device cpu needs none", probe.problem));
  return DeviceKind::kCuda;
}

const CudaGpu& ChooseGpu(std::span<const CudaGpu> gpus, int host_rank) {
  KVFOLD_CHECK(!gpus.empty() && host_rank >= 0, "gpus", gpus.size(), "host_rank", host_rank);
  return gpus[static_cast<size_t>(host_rank) % gpus.size()];
}

RankPlace MakeRankPlace(std::string_view host, const CudaGpu& gpu) {
  RankPlace place;
  CopyText(host, place.host);
  CopyText(gpu.name, place.gpu_name);
  CopyText(gpu.uuid, place.gpu_uuid);
  return place;
}

int RanksPerGpu(std::span<const RankPlace> ranks, bool may_share) {
  std::map<std::string_view, std::pair<size_t, int>> seen;  // the first rank, and how many
  int most = 0;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankPlace& place = ranks[rank];
    auto& [first, n_ranks] = seen.try_emplace(place.gpu_uuid, rank, 0).first->second;
    most = std::max(most, ++n_ranks);
    if (n_ranks > 1 && !may_share) {
      throw InputError(fmt::format(
          "ranks {} and {} both have the {} {} of {}: start one rank a GPU, or let them share with "
          "--share-devices",
          first, rank, place.gpu_name, place.gpu_uuid, place.host));
    }
  }
  return most;
}

const char* TransportName(Transport transport) {
  switch (transport) {
    case Transport::kLocal:
      return "local";
    case Transport::kNccl:
      return "nccl";
    case Transport::kStaged:
      return "staged";
  }
  return "?";
}

Transport ChooseTransport(std::optional<Transport> asked, int n_ranks, bool shares_gpus,
                          const CudaLibraryInfo& nccl) {
  if (asked == Transport::kStaged) return Transport::kStaged;
  const bool can_share = nccl.number >= kNcclThatSharesGpus;
  if (asked == Transport::kNccl) {
    if (nccl.number == 0) throw InputError(fmt::format("--transport nccl: {}", nccl.problem));
    if (shares_gpus && !can_share) {
      throw InputError(
          fmt::format("--transport nccl: NCCL {} ({}) cannot put several ranks on one GPU, "
                      "expected 2.30 or later, or --transport staged",
                      nccl.version, nccl.path));
    }
    return Transport::kNccl;
  }
  if (n_ranks == 1) return Transport::kLocal;
  if (shares_gpus) return can_share ? Transport::kNccl : Transport::kStaged;
  if (nccl.number == 0) {
    throw InputError(
        fmt::format("{}: ranks on GPUs of their own need it, or --transport staged, which is slow",
                    nccl.problem));
  }
  return Transport::kNccl;
}

}  // namespace kvfold
