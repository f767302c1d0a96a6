#include "runtime/jobs/request_fields.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "comm/error.h"
#include "models/json_text.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

using Json = nlohmann::json;

struct ForeignField {
  std::string_view name;
  const char* harmless;  // a JSON array of the values that ask for nothing; null: every value
};

constexpr std::array kForeignFields = {
    // Who asks, for whom, and how the answer is delivered.
    ForeignField{"model", nullptr},
    ForeignField{"user", nullptr},
    ForeignField{"metadata", nullptr},
    ForeignField{"store", nullptr},
    ForeignField{"service_tier", nullptr},
    ForeignField{"safety_identifier", nullptr},
    ForeignField{"prompt_cache_key", nullptr},
    ForeignField{"prompt_cache_retention", nullptr},
    ForeignField{"priority", nullptr},
    ForeignField{"request_id", nullptr},
    ForeignField{"parallel_tool_calls", nullptr},  // of tools, which are refused
    ForeignField{"stream_options", nullptr},       // of a stream, which is refused
    ForeignField{"stream", "[false]"},
    ForeignField{"echo", "[false]"},
    ForeignField{"logprobs", "[false]"},
    ForeignField{"top_logprobs", "[0]"},
    // How many answers, and of what kind.
    ForeignField{"n", "[1]"},
    ForeignField{"best_of", "[1]"},
    ForeignField{"use_beam_search", "[false]"},
    ForeignField{"length_penalty", "[1]"},
    ForeignField{"suffix", R"([""])"},
    ForeignField{"modalities", R"([["text"]])"},
    ForeignField{"response_format", R"([{"type": "text"}])"},
    ForeignField{"tools", "[[]]"},
    ForeignField{"tool_choice", R"(["none", "auto"])"},
    ForeignField{"functions", "[[]]"},
    ForeignField{"function_call", R"(["none", "auto"])"},
    ForeignField{"chat_template_kwargs", "[{}]"},
    ForeignField{"add_generation_prompt", "[true]"},
    ForeignField{"continue_final_message", "[false]"},
    // How tokens are drawn and where they end.
    ForeignField{"presence_penalty", "[0]"},
    ForeignField{"frequency_penalty", "[0]"},
    ForeignField{"repetition_penalty", "[1]"},
    ForeignField{"logit_bias", "[{}]"},
    ForeignField{"min_p", "[0]"},
    ForeignField{"typical_p", "[1]"},
    ForeignField{"min_tokens", "[0]"},
    ForeignField{"ignore_eos", "[false]"},
    ForeignField{"stop_token_ids", "[[]]"},
    ForeignField{"bad_words", "[[]]"},
    ForeignField{"include_stop_str_in_output", "[false]"},
    ForeignField{"skip_special_tokens", "[true]"},
};

}  // namespace

void CheckForeignField(const std::string& field, const Json& value) {
  const auto* const known = std::ranges::find(kForeignFields, field, &ForeignField::name);
  if (known == kForeignFields.end())
    throw InputError(fmt::format("unknown field {}", Quoted(field)));
  if (known->harmless == nullptr) return;
  std::string expected;
  for (const Json& harmless : Json::parse(known->harmless)) {
    if (value == harmless) return;
    expected += (expected.empty() ? "" : " or ") + ShownJson(harmless);
  }
  throw InputError(fmt::format("field {} is {}, which is not supported, expected {}", Quoted(field),
                               ShownJson(value), expected));
}

}  // namespace kvfold
