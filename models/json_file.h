// models/json_file.h: JSON of a file of a user's, read strictly: duplicate keys and absurd nesting
// are refused, which the library would let pass.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace kvfold {

// `what` names the text in messages ("model/config.json"). Throws InputError with the byte where it
// is wrong.
nlohmann::json ParseJson(std::string_view text, const std::string& what);
// Throws InputError also where the file is missing or longer than `most_bytes`.
nlohmann::json ReadJsonFile(const std::filesystem::path& path, uint64_t most_bytes);

}  // namespace kvfold
