#include "comm/error.h"

namespace kvfold::internal {

void CheckFailed(const char* file, int line, const char* condition, const std::string& values) {
  throw std::logic_error(fmt::format("{}:{}: check failed: {}{}", file, line, condition, values));
}

}  // namespace kvfold::internal
