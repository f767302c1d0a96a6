#include "models/tokenizer/tokenizer_json_parts.h"

#include <array>
#include <utility>

#include "comm/error.h"
#include "models/quoted.h"
#include "models/tokenizer/regex_translation.h"

namespace kvfold {
namespace {

// The steps of a part that is one step or a Sequence of them, listed under `list_key`; none where
// it is null.
std::vector<JsonField> Steps(const JsonField& field, std::string_view list_key) {
  if (field.IsNull()) return {};
  if (field.At("type").String() != "Sequence") return {field};
  field.ExpectKeys({"type", list_key});
  std::vector<JsonField> steps;
  const JsonField list = field.At(list_key);
  for (size_t i = 0; i < list.Array().size(); ++i) steps.push_back(list.At(i));
  return steps;
}

[[noreturn]] void RefuseType(const JsonField& step, std::string_view known) {
  throw InputError(fmt::format("{} is of type {}, which is not supported (only {} is)",
                               step.where(), Quoted(step.At("type").String()), known));
}

SplitBehavior ReadBehavior(const JsonField& field) {
  constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kNames = {{
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  }};
  for (const auto& [name, behavior] : kNames) {
    if (field.String() == name) return behavior;
  }
  field.Wrong("Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
}

SplitRegex ReadPattern(const JsonField& field) {
  field.ExpectKeys({"Regex", "String"});
  if (field.Object().size() != 1) field.Wrong("an object with either Regex or String");
  const JsonField regex = field.At("Regex");
  const std::string pattern = regex.IsNull() ? QuoteRegex(field.At("String").String())
                                             : TranslateRegex(regex.String(), regex.where());
  return SplitRegex(pattern, field.where());
}

}  // namespace

void ReadNormalizer(const JsonField& field, BpeTokenizerSpec& spec) {
  for (const JsonField& step : Steps(field, "normalizers")) {
    if (step.At("type").String() != "NFC") RefuseType(step, "NFC");
    step.ExpectKeys({"type"});
    spec.nfc = true;
  }
}

void ReadPreTokenizer(const JsonField& field, BpeTokenizerSpec& spec) {
  bool byte_level = false;
  for (const JsonField& step : Steps(field, "pretokenizers")) {
    const std::string& type = step.At("type").String();
    if (byte_level) {
      throw InputError(
          fmt::format("{} follows ByteLevel, which must be the last step", step.where()));
    }
    if (type == "ByteLevel") {
      step.ExpectKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
      byte_level = true;
      if (step.At("add_prefix_space").Bool()) spec.pre_tokenizer.AddPrefixSpace();
      if (!step.At("use_regex").Bool(true)) continue;
      spec.pre_tokenizer.Add(
          PreTokenizer::Split{SplitRegex(TranslateRegex(kGpt2Regex, step.where()), step.where()),
                              SplitBehavior::kIsolated, false});
    } else if (type == "Split") {
      step.ExpectKeys({"type", "pattern", "behavior", "invert"});
      spec.pre_tokenizer.Add(PreTokenizer::Split{ReadPattern(step.At("pattern")),
                                                 ReadBehavior(step.At("behavior")),
                                                 step.At("invert").Bool()});
    } else if (type == "Digits") {
      step.ExpectKeys({"type", "individual_digits"});
      spec.pre_tokenizer.Add(PreTokenizer::Digits{step.At("individual_digits").Bool()});
    } else {
      RefuseType(step, "ByteLevel, Split, Digits or a Sequence of them");
    }
  }
  if (!byte_level) {
    throw InputError(fmt::format("{} has no ByteLevel step, and only byte-level BPE is supported",
                                 field.where()));
  }
}

void ReadPostProcessor(const JsonField& field, BpeTokenizerSpec& spec) {
  bool templated = false;
  for (const JsonField& step : Steps(field, "processors")) {
    const std::string& type = step.At("type").String();
    if (type == "ByteLevel") continue;  // it only moves offsets
    if (type != "TemplateProcessing" || templated) {
      RefuseType(step, "ByteLevel, one TemplateProcessing or a Sequence of them");
    }
    templated = true;
    step.ExpectKeys({"type", "single", "pair", "special_tokens"});
    const JsonField single = step.At("single");
    bool behind = false;
    for (size_t i = 0; i < single.Array().size(); ++i) {
      const JsonField piece = single.At(i);
      if (piece.Object().size() != 1) piece.Wrong("an object with one field");
      if (piece.Object().contains("Sequence")) {
        if (behind || piece.At("Sequence").At("id").String() != "A") {
          piece.Wrong("the sequence A, once");
        }
        behind = true;
        continue;
      }
      const std::string& name = piece.At("SpecialToken").At("id").String();
      const JsonField ids = step.At("special_tokens").At(name).At("ids");
      for (size_t j = 0; j < ids.Array().size(); ++j) {
        const int64_t id = ids.At(j).Int(BpeTokenizerSpec::kMostTokens - 1);
        (behind ? spec.suffix : spec.prefix).push_back(static_cast<TokenId>(id));
      }
    }
    if (!behind) single.Wrong("a template with the sequence A");
  }
}

void ReadDecoder(const JsonField& field) {
  if (field.At("type").String() != "ByteLevel") RefuseType(field, "ByteLevel");
}

void ReadAddedTokens(const JsonField& field, BpeTokenizerSpec& spec) {
  if (field.IsNull()) return;
  for (size_t i = 0; i < field.Array().size(); ++i) {
    const JsonField item = field.At(i);
    AddedToken token;
    token.id = static_cast<TokenId>(item.At("id").Int(BpeTokenizerSpec::kMostTokens - 1));
    token.content = item.At("content").String();
    token.single_word = item.At("single_word").Bool();
    token.lstrip = item.At("lstrip").Bool();
    token.rstrip = item.At("rstrip").Bool();
    token.normalized = item.At("normalized").Bool();
    token.special = item.At("special").Bool();
    spec.added.push_back(std::move(token));
  }
}

}  // namespace kvfold
