#include "models/tokenizer/bpe_tokenizer.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <unordered_set>

#include "comm/error.h"
#include "models/quoted.h"
#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/utf8.h"
#include "models/tokenizer/word_cache.h"

namespace kvfold {

BpeTokenizer::BpeTokenizer(BpeTokenizerSpec spec) : spec_(std::move(spec)) {
  AddVocabulary();
  const std::vector<BpeMerge> merges = ResolveMerges();
  const std::vector<Entry> vocabulary = entries_;
  AddAddedTokens();
  // Views into bytes_, which is complete now. Byte pair encoding cannot reach a token outside the
  // byte alphabet.
  std::vector<ByteLevelBpe::Token> tokens;
  for (const auto& [text, id] : spec_.vocabulary) {
    if (!text.empty() && BytesOfToken(text).has_value()) {
      tokens.push_back({id, BytesOf(vocabulary[id])});
    }
  }
  bpe_ = std::make_unique<ByteLevelBpe>(tokens, merges, spec_.options);
  spec_.merges = {};
  for (const std::vector<TokenId>* around : {&spec_.prefix, &spec_.suffix}) {
    for (const TokenId id : *around) {
      if (id < 0 || id >= vocab_size() || !entries_[id].used) {
        throw InputError(fmt::format("{}: the post-processor adds token id {}, which no token has",
                                     spec_.where, id));
      }
    }
  }
}

void BpeTokenizer::SetBytes(TokenId id, std::string_view token) {
  // As Hugging Face's ByteLevel decoder: a token with a character outside the byte alphabet stands
  // for itself.
  const std::string bytes = BytesOfToken(token).value_or(std::string(token));
  if (static_cast<size_t>(id) >= entries_.size()) entries_.resize(static_cast<size_t>(id) + 1);
  if (bytes.size() > std::numeric_limits<int32_t>::max()) {
    throw InputError(
        fmt::format("{}: token id {} is {} bytes long", spec_.where, id, bytes.size()));
  }
  Entry& entry = entries_[id];
  entry.begin = static_cast<int64_t>(bytes_.size());
  entry.size_bytes = static_cast<int32_t>(bytes.size());
  entry.used = true;
  bytes_ += bytes;
}

void BpeTokenizer::AddVocabulary() {
  ids_.reserve(spec_.vocabulary.size());
  // Memory goes by the largest id: it must not be far beyond what the file has tokens for.
  constexpr int64_t kMostUnused = 1 << 16;
  const size_t n_tokens = spec_.vocabulary.size() + spec_.unreachable.size();
  const auto most_ids = std::min(static_cast<int64_t>(n_tokens) + kMostUnused,
                                 int64_t{BpeTokenizerSpec::kMostTokens});
  const auto take = [&](const std::string& text, TokenId id) {
    if (id < 0 || id >= most_ids) {
      throw InputError(fmt::format("{}: token {} has id {}, expected 0 to {}", spec_.where,
                                   Quoted(text), id, most_ids - 1));
    }
    if (static_cast<size_t>(id) < entries_.size() && entries_[id].used) {
      throw InputError(
          fmt::format("{}: two tokens, one of them {}, have id {}", spec_.where, Quoted(text), id));
    }
    SetBytes(id, text);
  };
  for (const auto& [text, id] : spec_.vocabulary) {
    take(text, id);
    if (!ids_.emplace(text, id).second) {
      throw InputError(
          fmt::format("{}: token {} is in the vocabulary twice", spec_.where, Quoted(text)));
    }
  }
  for (const auto& [text, id] : spec_.unreachable) take(text, id);
  spec_.unreachable = {};
}

std::vector<BpeMerge> BpeTokenizer::ResolveMerges() const {
  std::vector<BpeMerge> merges;
  merges.reserve(spec_.merges.size());
  std::string merged;
  const auto id = [&](const std::string& token) {
    const auto found = ids_.find(token);
    if (found == ids_.end()) {
      throw InputError(fmt::format("{}: merge {} needs token {}, which is not in the vocabulary",
                                   spec_.where, merges.size(), Quoted(token)));
    }
    return found->second;
  };
  for (const auto& [left, right] : spec_.merges) {
    merged.assign(left).append(right);
    merges.push_back({id(left), id(right), id(merged)});
  }
  return merges;
}

// Each added token once, with its id: of one that stands there again the last flags count, but what
// was special once is left out of text, as Hugging Face has it.
std::vector<AddedToken> BpeTokenizer::DistinctAddedTokens() const {
  std::vector<AddedToken> distinct;
  std::unordered_map<std::string_view, size_t> places;  // views into spec_
  // Hugging Face gives a token that is new to the vocabulary the next id, whatever the file says; a
  // file that says otherwise would be read as two different vocabularies.
  const auto n_vocabulary = static_cast<TokenId>(spec_.vocabulary.size());
  TokenId largest = -1;
  for (const AddedToken& token : spec_.added) {
    const auto refuse = [&](const std::string& why) {
      throw InputError(fmt::format("{}: added token {} {}",
                                   token.where.empty() ? spec_.where : token.where,
                                   Quoted(token.content), why));
    };
    if (token.content.empty()) continue;  // as Hugging Face does
    if (token.content.size() > AddedTokenFinder::kMostTokenBytes) {
      refuse(fmt::format("is {} bytes long, expected at most {}", token.content.size(),
                         AddedTokenFinder::kMostTokenBytes));
    }
    const auto [place, is_new] = places.try_emplace(token.content, distinct.size());
    const auto known = ids_.find(token.content);
    const TokenId expected = !is_new               ? distinct[place->second].id
                             : known != ids_.end() ? known->second
                                                   : std::max(n_vocabulary, largest + 1);
    if (token.id != AddedToken::kNoId && token.id != expected) {
      refuse(fmt::format("has id {}, expected {}", token.id, expected));
    }
    if (is_new) distinct.emplace_back();
    AddedToken& kept = distinct[place->second];
    const bool special = kept.special || token.special;
    kept = token;
    kept.id = expected;
    kept.special = special;
    largest = std::max(largest, expected);
  }
  return distinct;
}

void BpeTokenizer::AddAddedTokens() {
  std::vector<AddedToken> raw, normalized;
  std::unordered_set<std::string> contents;  // of `normalized`
  added_ = DistinctAddedTokens();
  for (const AddedToken& token : added_) {
    const auto refuse = [&](const std::string& why) {
      throw InputError(fmt::format("{}: added token {} {}",
                                   token.where.empty() ? spec_.where : token.where,
                                   Quoted(token.content), why));
    };
    if (ids_.emplace(token.content, token.id).second) {
      if (token.id >= BpeTokenizerSpec::kMostTokens ||
          (static_cast<size_t>(token.id) < entries_.size() && entries_[token.id].used)) {
        refuse(fmt::format("has id {}, which is out of range or another token's", token.id));
      }
      SetBytes(token.id, token.content);
    }
    entries_[token.id].added = true;
    entries_[token.id].special = token.special;
    if (!token.normalized) {
      raw.push_back(token);
      continue;
    }
    AddedToken sought = token;
    std::string storage;
    if (spec_.nfc) sought.content = std::string(NormalizeNfc(token.content, storage));
    if (!contents.insert(sought.content).second) {
      refuse("becomes another added token when it is normalized");
    }
    if (sought.content != token.content) SetBytes(token.id, sought.content);
    normalized.push_back(std::move(sought));
  }
  raw_added_ = std::make_unique<AddedTokenFinder>(std::move(raw));
  normalized_added_ = std::make_unique<AddedTokenFinder>(std::move(normalized));
}

std::vector<TokenId> BpeTokenizer::Encode(std::string_view text, bool add_special) const {
  const size_t invalid = FindInvalidUtf8(text);
  if (invalid != std::string_view::npos) {
    throw InputError(
        fmt::format("the text is not UTF-8 at byte {}: expected a character, found {:#04x}",
                    invalid, static_cast<uint8_t>(text[invalid])));
  }
  std::vector<TokenId> out;
  out.reserve(text.size() / 4 + 16);
  if (add_special) out = spec_.prefix;

  std::deque<std::string> normalized_parts;  // views into them are in `cache`
  PreTokenizer::Walker walker(spec_.pre_tokenizer);
  WordCache cache(text.size());
  ByteLevelBpe::Scratch scratch;
  const auto token = [&](TokenId id) { out.push_back(id); };
  const auto words = [&](std::string_view part) {
    walker.Walk(part, [&](std::string_view word) {
      cache.Append(word, out, [&](std::string_view w) { bpe_->Encode(w, scratch, out); });
    });
  };
  raw_added_->Split(
      text,
      [&](std::string_view part) {
        if (spec_.nfc) {
          part = NormalizeNfc(part, normalized_parts.emplace_back());
          if (normalized_parts.back().empty()) normalized_parts.pop_back();
        }
        normalized_added_->Split(part, words, token);
      },
      token);
  if (add_special) out.insert(out.end(), spec_.suffix.begin(), spec_.suffix.end());
  return out;
}

std::string BpeTokenizer::Decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string bytes;
  for (const TokenId id : ids) bytes += TokenBytes(id, skip_special);
  std::string text;
  text.reserve(bytes.size());
  AppendLossyUtf8(text, bytes);
  return text;
}

std::string_view BpeTokenizer::TokenBytes(TokenId id, bool skip_special) const {
  // A model may have more rows than its tokenizer has tokens; those decode to nothing, as Hugging
  // Face's do.
  if (id < 0 || id >= vocab_size()) return {};
  const Entry& entry = entries_[id];
  if (skip_special && entry.special) return {};
  return BytesOf(entry);
}

bool BpeTokenizer::IsAdded(TokenId id) const {
  return id >= 0 && id < vocab_size() && entries_[id].added;
}

std::string_view BpeTokenizer::BytesOf(const Entry& entry) const {
  return std::string_view(bytes_).substr(static_cast<size_t>(entry.begin),
                                         static_cast<size_t>(entry.size_bytes));
}

TokenId BpeTokenizer::TokenToId(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

}  // namespace kvfold
