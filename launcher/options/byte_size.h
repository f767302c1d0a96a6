// launcher/options/byte_size.h: sizes as people write them.
#pragma once

#include <cstdint>
#include <string>

namespace kvfold {

// "40GiB", "512MiB", "40GB", "1073741824" in bytes; "40G" is 40GiB, as Slurm, Docker and the tools
// of GNU read it, and "40Gi" as Kubernetes does. Capital and small letters are the same. Throws
// InputError naming `option`.
int64_t ParseBytes(const std::string& option, const std::string& text);

}  // namespace kvfold
