// runtime/jobs/request_fields.h: fields of other tools' requests that are read past where they ask
// for nothing that would change the result, and refused by name where they do.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace kvfold {

// Requires: `value` is not null. Throws InputError where the field is not known, or asks for what
// is not supported; then it says what would be.
void CheckForeignField(const std::string& field, const nlohmann::json& value);

}  // namespace kvfold
