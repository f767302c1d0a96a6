// comm/heartbeat/frame.h: what ranks tell each other over the heartbeat's sockets, one frame a
// message. Anybody may connect to an open port: a frame counts only if it decodes and carries the
// job's token.
//
// A frame is, without padding, in the byte order of the machine (ranks compare builds before):
//   char[4] "KVHB", u8 version, u8 kind, u8 phase, u8 in_communication, u8[16] token, i32 rank,
//   i32 subject, i32 exit_code, i64 step, i64 layer, u64 count, u16 text_bytes, char[text_bytes]
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "comm/heartbeat/progress.h"

namespace kvfold {

// Of one job; strangers cannot guess it.
using HeartbeatToken = std::array<uint8_t, 16>;

struct HeartbeatFrame {
  enum class Kind : uint8_t {
    kHello,         // may I be heard on this connection?
    kWelcome,       // the answer
    kBeat,          // alive, and this far
    kFailed,        // the sender has failed: exit_code, text, in_communication
    kVerdict,       // the job ends: subject has the blame, exit_code, text is its cause
    kBye,           // the sender has done all and leaves
    kFarewellRead,  // the sender has read the kBye of subject
  };
  static constexpr Kind kLastKind = Kind::kFarewellRead;

  Kind kind = Kind::kBeat;
  int32_t rank = 0;  // the sender
  HeartbeatToken token{};
  ProgressView progress;
  int32_t subject = 0;
  int32_t exit_code = 0;
  bool in_communication = false;  // kFailed: a collective did, perhaps since another rank has gone
  std::string text;               // cut to kMaxTextBytes
  bool operator==(const HeartbeatFrame&) const = default;
};

inline constexpr size_t kMaxTextBytes = 1024;
inline constexpr size_t kMaxFrameBytes = 2048;

std::string EncodeFrame(const HeartbeatFrame& frame);
// Nothing for bytes that EncodeFrame cannot have made.
std::optional<HeartbeatFrame> DecodeFrame(std::span<const std::byte> bytes);

}  // namespace kvfold
