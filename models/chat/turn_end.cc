#include "models/chat/turn_end.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "comm/error.h"
#include "models/tokenizer/folder_tokens.h"
#include "models/tokenizer/unicode_sets.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

constexpr std::string_view kSaid = "Xq7wAnswer";

// nullopt where the template cannot take such a conversation or leaves the answer out.
std::optional<std::string> BehindAnswer(const ChatTemplate& chat,
                                        const std::vector<ChatMessage>& messages) {
  try {
    const std::string text = chat.Render(messages);
    const size_t said = text.rfind(kSaid);
    if (said == std::string::npos) return std::nullopt;
    return text.substr(said + kSaid.size());
  } catch (const InputError&) {
    return std::nullopt;
  }
}

}  // namespace

std::vector<TokenId> TurnEndIds(const std::filesystem::path& model, const ChatTemplate& chat,
                                const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  const auto add = [&](TokenId id) {
    if (id != -1 && std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  };
  // Another turn behind it first: some templates end a turn only before the next one.
  const ChatMessage question{"user", "Xq7wQuestion"}, answer{"assistant", std::string(kSaid)};
  std::optional<std::string> behind = BehindAnswer(chat, {question, answer, question});
  if (!behind.has_value()) behind = BehindAnswer(chat, {question, answer});
  if (behind.has_value()) {
    size_t begin = 0;
    for (size_t next = 0; next < behind->size(); begin = next) {
      if (!IsWhiteSpace(NextCodePoint(*behind, next))) break;
    }
    const std::vector<TokenId> tokens =
        tokenizer.Encode(std::string_view(*behind).substr(begin), /*add_special=*/false);
    if (!tokens.empty() && tokenizer.IsAdded(tokens.front())) add(tokens.front());
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(model, ignored)) {
    const FolderTokens folder = ReadFolderTokens(model);
    const std::string_view eos = folder.Text("eos_token");
    if (!eos.empty()) add(tokenizer.TokenToId(eos));
  }
  return ids;
}

}  // namespace kvfold
