#include "models/json_file.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "comm/error.h"
#include "models/checkpoint/file_kind.h"
#include "models/checkpoint/mapped_file.h"
#include "models/quoted.h"

namespace kvfold {

nlohmann::json ParseJson(std::string_view text, const std::string& what) {
  using Json = nlohmann::json;
  constexpr int kMostDepth = 64;
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMostDepth) {
      throw InputError(fmt::format("{}: JSON nested more than {} deep", what, kMostDepth));
    }
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        throw InputError(fmt::format("{}: key {} appears twice in one object", what, Quoted(key)));
      }
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("{}: not valid JSON: {}", what, Quoted(error.what())));
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
