// tests/models/error_of.h: the sentence that a call is refused with.
#pragma once

#include <functional>
#include <string>

#include "comm/error.h"

namespace kvfold {

// The message of the InputError that `action` throws; "" where it throws none.
inline std::string ErrorOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace kvfold
