#include "launcher/options/byte_size.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <string_view>

#include "comm/error.h"

namespace kvfold {

int64_t ParseBytes(const std::string& option, const std::string& text) {
  static constexpr struct {
    std::string_view suffix;  // in small letters
    double factor;
  } kUnits[] = {{"", 1.0},
                {"b", 1.0},
                {"kb", 1e3},
                {"mb", 1e6},
                {"gb", 1e9},
                {"tb", 1e12},
                {"k", 1024.0},
                {"m", 1048576.0},
                {"g", 1073741824.0},
                {"t", 1099511627776.0},
                {"ki", 1024.0},
                {"mi", 1048576.0},
                {"gi", 1073741824.0},
                {"ti", 1099511627776.0},
                {"kib", 1024.0},
                {"mib", 1048576.0},
                {"gib", 1073741824.0},
                {"tib", 1099511627776.0}};
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string suffix(end, static_cast<size_t>(text.data() + text.size() - end));
  if (suffix.starts_with(' ')) suffix.erase(0, 1);
  for (char& letter : suffix) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  for (const auto& unit : kUnits) {
    if (error != std::errc() || suffix != unit.suffix) continue;
    const double bytes = number * unit.factor;
    if (bytes >= 1.0 && bytes < 9e18) return static_cast<int64_t>(std::llround(bytes));
  }
  throw InputError(fmt::format(
      "{} is \"{}\", expected a size such as 40GiB (40G is the same) or 40GB", option, text));
}

}  // namespace kvfold
