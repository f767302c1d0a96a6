// comm/heartbeat/addresses.h: where other ranks may find this one.
#pragma once

#include <string>
#include <vector>

namespace kvfold {

// As the system calls it; "unknown" where it does not.
std::string HostName();

// Numeric addresses of this host's interfaces that are up, as they stand in an endpoint
// ("10.0.0.7", "[fd00::7]"), those for other hosts first, loopback ("127.0.0.1") last. Addresses
// that mean nothing without an interface (fe80::) are left out.
std::vector<std::string> HostAddresses();

}  // namespace kvfold
