// runtime/jobs/result_record.h: a line of --output as text: how it is made, and how it is known
// again among what other programs write.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "comm/error.h"
#include "runtime/fold/scheduler.h"

namespace kvfold {

// One completion as an object of a record: text, tokens, counts, finish_reason, timings, transport.
std::string CompletionJson(const Completion& completion, const std::string& transport);

// Records, without the line's end. They begin {"id":"...","key":"..."," and go on with text or
// error.
std::string CompletionRecord(const std::string& id, const std::string& key,
                             const Completion& completion, const std::string& transport);
std::string ErrorRecord(const std::string& id, const std::string& key, const Error& error);

struct KnownRecord {
  std::string id;
  std::string key;
  bool error = false;
};

// The record of a line, spaced and with fields added as anybody likes; nullopt where it is none: no
// JSON object, or one without "id" and "key" and either an error or text, tokens and finish_reason.
std::optional<KnownRecord> ReadRecord(std::string_view line);

// Whether `text` is the beginning of a record as these functions write it, cut anywhere: what is
// left where a write broke off.
bool IsTornRecord(std::string_view text);
// Whether a torn record goes so far that its key is whole, as RequestHash writes it.
bool HoldsKey(std::string_view torn_record);

}  // namespace kvfold
