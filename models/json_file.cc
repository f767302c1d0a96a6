#include "models/json_file.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "comm/error.h"
#include "models/checkpoint/file_kind.h"
#include "models/checkpoint/mapped_file.h"
#include "models/json_text.h"
#include "models/quoted.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {

nlohmann::json ParseStrictJson(std::string_view text) {
  using Json = nlohmann::json;
  constexpr int kMostDepth = 64;
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMostDepth)
      throw InputError(fmt::format("JSON nested more than {} deep", kMostDepth));
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        throw InputError(fmt::format("key {} appears twice in one object", Quoted(key)));
    }
    return true;
  };
  return Json::parse(text.begin(), text.end(), check);
}

nlohmann::json ParseJson(std::string_view text, const std::string& what) {
  if (const std::string_view other = OtherUnicode(text); !other.empty()) {
    throw InputError(fmt::format("{} is {}, expected UTF-8", what, other));
  }
  try {
    return ParseStrictJson(text);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", what, error.what()));
  } catch (const nlohmann::json::exception& error) {
    const JsonProblem problem = FindJsonProblem(text, error);
    throw InputError(fmt::format("{}: not valid JSON at line {}, column {}: {}", what, problem.line,
                                 problem.column, problem.why));
  }
}

nlohmann::json ReadJsonFile(const std::filesystem::path& path, uint64_t most_bytes) {
  const MappedFile file(path);
  RefuseOtherKinds(file.path(), file.bytes(), FileKind::kJson, "JSON");
  if (file.size_bytes() > most_bytes) {
    throw InputError(fmt::format("{}: {} bytes long, expected at most {}", file.path(),
                                 file.size_bytes(), most_bytes));
  }
  return ParseJson({reinterpret_cast<const char*>(file.data()), file.size_bytes()}, file.path());
}

}  // namespace kvfold
