// runtime/jobs/request_hash.h: the `key` of a result: a hash of all that changes it.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace kvfold {

// 128 bits as 32 hexadecimal digits. Parts are told apart: {"ab", "c"} and {"a", "bc"} differ.
std::string RequestHash(std::initializer_list<std::string_view> parts);

}  // namespace kvfold
