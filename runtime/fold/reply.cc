#include "runtime/fold/reply.h"

#include <algorithm>

#include "models/tokenizer/utf8.h"

namespace kvfold {

std::vector<std::string> SpecialTexts(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.IsSpecial(id)) texts.emplace_back(tokenizer.TokenBytes(id, false));
  }
  return texts;
}

std::unique_ptr<Reply> ReplyMaker::Make(const std::vector<std::string>& stop) {
  if (tokenizer_ == nullptr) return nullptr;
  if (stop.empty()) return std::make_unique<Reply>(*tokenizer_, std::vector<std::string>(), stop);
  if (!special_texts_.has_value()) special_texts_ = SpecialTexts(*tokenizer_);
  return std::make_unique<Reply>(*tokenizer_, *special_texts_, stop);
}

Reply::Reply(const Tokenizer& tokenizer, const std::vector<std::string>& special_texts,
             std::vector<std::string> stop)
    : tokenizer_(tokenizer), stop_(std::move(stop)), decoder_(tokenizer) {
  std::erase(stop_, "");
  for (const std::string& text : stop_) {
    const bool special = std::ranges::any_of(special_texts, [&](const std::string& token) {
      return text.find(token) != std::string::npos;
    });
    if (special) special_stop_.push_back(text);
  }
}

bool Reply::Take(TokenId id) {
  piece_begin_ = text_.size();
  text_ += decoder_.Push(id);
  size_t cut = text_.size();
  const bool in_text = FindInText(cut);
  std::string shown;
  bool among_special = false;
  if (!special_stop_.empty()) {
    AppendWithSpecial(id, tokenizer_.IsSpecial(id));
    among_special = FindAmongSpecial(tokenizer_.TokenBytes(id, false), shown);
  }
  if (in_text) text_.resize(cut);
  if (among_special && (!in_text || shown.size() < text_.size())) text_ = std::move(shown);
  piece_begin_ = std::min(piece_begin_, text_.size());
  return in_text || among_special;
}

bool Reply::TakeEnd(TokenId id) {
  piece_begin_ = text_.size();
  if (special_stop_.empty()) return false;
  AppendWithSpecial(id, /*hidden=*/true);
  std::string shown;
  if (!FindAmongSpecial(tokenizer_.TokenBytes(id, false), shown)) return false;
  text_ = std::move(shown);
  piece_begin_ = text_.size();
  return true;
}

void Reply::Finish() {
  piece_begin_ = text_.size();
  text_ += decoder_.Finish();
}

bool Reply::FindInText(size_t& cut) const {
  bool found = false;
  for (const std::string& stop : stop_) {
    const size_t from =
        piece_begin_ - std::min(piece_begin_, stop.size() - 1);  // none ended before
    const size_t at = text_.find(stop, from);
    if (at == std::string::npos) continue;
    cut = std::min(cut, at);
    found = true;
  }
  return found;
}

bool Reply::FindAmongSpecial(std::string_view newest, std::string& text) const {
  const size_t new_from = with_special_.size() - newest.size();
  size_t cut = std::string::npos;
  for (const std::string& stop : special_stop_) {
    const size_t from = new_from - std::min(new_from, stop.size() - 1);
    cut = std::min(cut, with_special_.find(stop, from));
  }
  if (cut == std::string::npos) return false;
  std::string bytes;
  size_t done = 0;
  for (const auto& [begin, end] : hidden_) {
    if (begin >= cut) break;
    bytes.append(with_special_, done, begin - done);
    done = std::min(end, cut);
  }
  bytes.append(with_special_, done, cut - done);
  AppendLossyUtf8(text, bytes);
  return true;
}

void Reply::AppendWithSpecial(TokenId id, bool hidden) {
  const std::string_view bytes = tokenizer_.TokenBytes(id, false);
  if (hidden) hidden_.emplace_back(with_special_.size(), with_special_.size() + bytes.size());
  with_special_ += bytes;
}

}  // namespace kvfold
