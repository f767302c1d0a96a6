// models/checkpoint/mapping_faults.h: an honest end where a mapped file is cut short, or its disk
// fails, while it is in use.
//
// The operating system then answers the next touch of a page that is gone with SIGBUS, in whatever
// thread; there is nothing to go on with. Any thread may note and forget.
#pragma once

#include <cstdint>
#include <string>

namespace kvfold {

// From now on such a touch ends the process with one sentence on standard error that names the
// file, and exit code 1 (ErrorCode::kFailed). Another SIGBUS ends it as it always does.
void HandleMappingFaults();

// What the handler knows: called by MappedFile for each mapping. Beyond 1024 at a time the file
// goes unnamed.
void NoteMapping(const uint8_t* data, uint64_t size_bytes, const std::string& path);
void ForgetMapping(const uint8_t* data) noexcept;

}  // namespace kvfold
