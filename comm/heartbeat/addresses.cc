#include "comm/heartbeat/addresses.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <array>

namespace kvfold {

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "unknown";
  return name.data();
}

std::vector<std::string> HostAddresses() {
  std::vector<std::string> addresses;
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) == 0) {
    for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
      if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0) continue;
      if ((at->ifa_flags & IFF_LOOPBACK) != 0) continue;
      std::array<char, INET6_ADDRSTRLEN> text{};
      if (at->ifa_addr->sa_family == AF_INET) {
        const auto* const address = reinterpret_cast<const sockaddr_in*>(at->ifa_addr);
        if (inet_ntop(AF_INET, &address->sin_addr, text.data(), text.size()) != nullptr)
          addresses.emplace_back(text.data());
      } else if (at->ifa_addr->sa_family == AF_INET6) {
        const auto* const address = reinterpret_cast<const sockaddr_in6*>(at->ifa_addr);
        if (IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr)) continue;
        if (inet_ntop(AF_INET6, &address->sin6_addr, text.data(), text.size()) != nullptr)
          addresses.push_back(fmt::format("[{}]", text.data()));
      }
    }
    freeifaddrs(first);
  }
  addresses.emplace_back("127.0.0.1");
  return addresses;
}

}  // namespace kvfold
