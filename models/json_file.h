// models/json_file.h: JSON of a file of a user's, read strictly: duplicate keys and absurd nesting
// are refused, which the library would let pass.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace kvfold {

// Throws what the library throws where the text is not JSON (models/json_text.h finds the words),
// InputError where a key appears twice in one object or values are nested more than 64 deep.
nlohmann::json ParseStrictJson(std::string_view text);
// `what` names the text in messages ("model/config.json"). Throws InputError with the line, the
// column and what is wrong there (models/json_text.h), and where the text is not UTF-8 but UTF-16.
nlohmann::json ParseJson(std::string_view text, const std::string& what);
// Throws InputError also where the file is missing or longer than `most_bytes`.
nlohmann::json ReadJsonFile(const std::filesystem::path& path, uint64_t most_bytes);

}  // namespace kvfold
