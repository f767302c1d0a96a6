#include "launcher/ranks/agreement.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comm/gather_values.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

// What a rank has to say to the others: any text, and a code that is 0 where all is well.
struct Status {
  int32_t code = 0;
  std::string text;
};

// A sentence is told whole; what is longer than any sentence is cut.
constexpr size_t kMostTextBytes = 1 << 16;

std::vector<Status> Gather(Communicator& communicator, Status mine) {
  const auto n_ranks = static_cast<size_t>(communicator.size());
  mine.text = CutShort(mine.text, kMostTextBytes);
  struct Head {
    int32_t code;
    int32_t text_bytes;
  };
  const Head head = {mine.code, static_cast<int32_t>(mine.text.size())};
  const std::vector<Head> heads = GatherValues(communicator, head);
  // All pad to the longest, in which they agree now.
  const auto longest =
      static_cast<size_t>(std::ranges::max_element(heads, {}, &Head::text_bytes)->text_bytes);
  std::string texts(longest * n_ranks, '\0');
  mine.text.resize(longest);
  if (longest > 0) {
    communicator.AllGatherBytes(std::as_bytes(std::span(mine.text)),
                                std::as_writable_bytes(std::span(texts)));
  }
  std::vector<Status> all;
  for (size_t rank = 0; rank < n_ranks; ++rank) {
    all.push_back({heads[rank].code,
                   texts.substr(rank * longest, static_cast<size_t>(heads[rank].text_bytes))});
  }
  return all;
}

void Run(Communicator& communicator, const std::function<void()>& work, bool name_rank) {
  Status mine;
  try {
    work();
  } catch (const Error& error) {
    mine.code = static_cast<int32_t>(error.code());
    mine.text = error.what();
  } catch (const std::exception& error) {
    mine.code = static_cast<int32_t>(ErrorCode::kFailed);
    mine.text = error.what();
  }
  const std::vector<Status> all = Gather(communicator, std::move(mine));
  const auto failed =
      std::ranges::find_if(all, [](const Status& status) { return status.code != 0; });
  if (failed == all.end()) return;
  const bool same = !name_rank || std::ranges::all_of(
                                      all, [&](const Status& s) { return s.text == failed->text; });
  const auto rank = failed - all.begin();
  const std::string sentence = same ? failed->text : fmt::format("rank {}: {}", rank, failed->text);
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
  mine.text = text;
  const std::vector<Status> all = Gather(communicator, std::move(mine));
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank].text == all[0].text) continue;
    throw AgreedError(ErrorCode::kBadInput,
                      fmt::format("rank {} has {} {}, rank 0 has {}: all ranks must have the same",
                                  rank, name, all[rank].text, all[0].text));
  }
}

}  // namespace kvfold
