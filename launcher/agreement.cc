#include "launcher/agreement.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

namespace kvfold {
namespace {

constexpr size_t kTextBytes = 1024;

struct Status {
  int32_t code = 0;  // 0: fine
  int32_t length = 0;
  std::array<char, kTextBytes> text{};

  void SetText(std::string_view from) {
    length = static_cast<int32_t>(std::min(from.size(), kTextBytes));
    std::memcpy(text.data(), from.data(), static_cast<size_t>(length));
  }
  std::string Text() const { return {text.data(), static_cast<size_t>(length)}; }
};

std::vector<Status> Gather(Communicator& communicator, const Status& mine) {
  std::vector<Status> all(static_cast<size_t>(communicator.size()));
  communicator.AllGatherBytes(std::as_bytes(std::span(&mine, 1)),
                              std::as_writable_bytes(std::span(all)));
  return all;
}

void Run(Communicator& communicator, const std::function<void()>& work, bool name_rank) {
  Status mine;
  try {
    work();
  } catch (const Error& error) {
    mine.code = static_cast<int32_t>(error.code());
    mine.SetText(error.what());
  } catch (const std::exception& error) {
    mine.code = static_cast<int32_t>(ErrorCode::kFailed);
    mine.SetText(error.what());
  }
  const std::vector<Status> all = Gather(communicator, mine);
  const auto failed =
      std::ranges::find_if(all, [](const Status& status) { return status.code != 0; });
  if (failed == all.end()) return;
  const bool same = !name_rank || std::ranges::all_of(all, [&](const Status& s) {
    return s.Text() == failed->Text();
  });
  const auto rank = failed - all.begin();
  const std::string sentence =
      same ? failed->Text() : fmt::format("rank {}: {}", rank, failed->Text());
  throw AgreedError(static_cast<ErrorCode>(failed->code), sentence);
}

}  // namespace

void RunTogether(Communicator& communicator, const std::function<void()>& work) {
  Run(communicator, work, /*name_rank=*/true);
}

void RunForFirst(Communicator& communicator, const std::function<void()>& work) {
  Run(communicator, work, /*name_rank=*/false);
}

void AgreeOn(Communicator& communicator, std::string_view name, std::string_view text) {
  Status mine;
  mine.SetText(text);
  const std::vector<Status> all = Gather(communicator, mine);
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank].Text() == all[0].Text()) continue;
    throw AgreedError(ErrorCode::kBadInput,
                      fmt::format("rank {} has {} {}, rank 0 has {}: all ranks must have the same",
                                  rank, name, all[rank].Text(), all[0].Text()));
  }
}

}  // namespace kvfold
