#include "comm/heartbeat/frame.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace kvfold {
namespace {

constexpr std::string_view kMagic = "KVHB";
constexpr uint8_t kVersion = 1;

template <typename Value>
void Put(std::string& out, const Value& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(Value));
}

// Takes values from the front; once the bytes are spent it stays failed.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename Value>
  Value Take() {
    Value value{};
    if (bytes_.size() < sizeof(Value)) {
      failed_ = true;
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof(Value));
    bytes_ = bytes_.subspan(sizeof(Value));
    return value;
  }
  std::span<const std::byte> rest() const { return bytes_; }
  bool failed() const { return failed_; }

 private:
  std::span<const std::byte> bytes_;
  bool failed_ = false;
};

}  // namespace

std::string EncodeFrame(const HeartbeatFrame& frame) {
  std::string out(kMagic);
  Put(out, kVersion);
  Put(out, static_cast<uint8_t>(frame.kind));
  Put(out, static_cast<uint8_t>(frame.progress.phase));
  Put(out, static_cast<uint8_t>(frame.in_communication));
  Put(out, frame.token);
  Put(out, frame.rank);
  Put(out, frame.subject);
  Put(out, frame.exit_code);
  Put(out, frame.progress.step);
  Put(out, frame.progress.layer);
  Put(out, frame.progress.count);
  const std::string_view text = std::string_view(frame.text).substr(0, kMaxTextBytes);
  Put(out, static_cast<uint16_t>(text.size()));
  out += text;
  return out;
}

std::optional<HeartbeatFrame> DecodeFrame(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  const auto magic = reader.Take<std::array<char, 4>>();
  const auto version = reader.Take<uint8_t>();
  const auto kind = reader.Take<uint8_t>();
  const auto phase = reader.Take<uint8_t>();
  const auto in_communication = reader.Take<uint8_t>();
  HeartbeatFrame frame;
  frame.token = reader.Take<HeartbeatToken>();
  frame.rank = reader.Take<int32_t>();
  frame.subject = reader.Take<int32_t>();
  frame.exit_code = reader.Take<int32_t>();
  frame.progress.step = reader.Take<int64_t>();
  frame.progress.layer = reader.Take<int64_t>();
  frame.progress.count = reader.Take<uint64_t>();
  const auto text_bytes = reader.Take<uint16_t>();
  if (reader.failed() || std::string_view(magic.data(), magic.size()) != kMagic ||
      version != kVersion || kind > static_cast<uint8_t>(HeartbeatFrame::kLastKind) ||
      phase > static_cast<uint8_t>(kLastPhase) || in_communication > 1 ||
      text_bytes > kMaxTextBytes || reader.rest().size() != text_bytes) {
    return std::nullopt;
  }
  frame.kind = static_cast<HeartbeatFrame::Kind>(kind);
  frame.progress.phase = static_cast<Phase>(phase);
  frame.in_communication = in_communication == 1;
  frame.text.assign(reinterpret_cast<const char*>(reader.rest().data()), text_bytes);
  return frame;
}

}  // namespace kvfold
