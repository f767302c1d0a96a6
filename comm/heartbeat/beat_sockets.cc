#include "comm/heartbeat/beat_sockets.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "comm/error.h"

namespace kvfold::internal {
namespace {

constexpr int kFarewellMs = 1000;  // a last frame may take so long to leave
constexpr int kQueuedFrames = 1000;

zmq::socket_t MakeSocket(zmq::context_t& context, zmq::socket_type type) {
  zmq::socket_t socket(context, type);
  socket.set(zmq::sockopt::linger, kFarewellMs);
  socket.set(zmq::sockopt::sndhwm, kQueuedFrames);
  socket.set(zmq::sockopt::rcvhwm, kQueuedFrames);
  socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(kMaxFrameBytes));
  socket.set(zmq::sockopt::ipv6, true);  // IPv4 as well
  return socket;
}

// All parts of the next message, if there is one.
std::optional<std::vector<zmq::message_t>> Receive(zmq::socket_t& socket) {
  std::vector<zmq::message_t> parts;
  do {
    zmq::message_t part;
    if (!socket.recv(part, zmq::recv_flags::dontwait)) return std::nullopt;
    parts.push_back(std::move(part));
  } while (parts.back().more());
  return parts;
}

std::optional<HeartbeatFrame> Decode(const zmq::message_t& message) {
  return DecodeFrame({static_cast<const std::byte*>(message.data()), message.size()});
}

}  // namespace

BeatSockets::BeatSockets(zmq::context_t& context, int rank, int size)
    : context_(context), rank_(rank), size_(size) {}

BeatSockets::~BeatSockets() {
  for (Link& link : links_) ReadEnd(link);
}

int BeatSockets::Bind() {
  try {
    hub_ = MakeSocket(context_, zmq::socket_type::router);
    hub_.set(zmq::sockopt::backlog, 1024);
    hub_monitor_ = Monitor(hub_);
    hub_.bind("tcp://*:*");
    const std::string endpoint = hub_.get(zmq::sockopt::last_endpoint);
    return std::stoi(endpoint.substr(endpoint.rfind(':') + 1));
  } catch (const std::exception& error) {
    throw CommError(fmt::format("cannot bind a socket for the heartbeat: {}", error.what()));
  }
}

void BeatSockets::Connect(int hub, const std::vector<std::string>& endpoints) {
  hubs_.push_back(hub);
  for (const std::string& endpoint : endpoints) {
    Link link{.hub = hub};
    link.socket = MakeSocket(context_, zmq::socket_type::dealer);
    // The hub listens already. A connection that has ended stays so: its end is the news.
    link.socket.set(zmq::sockopt::reconnect_ivl, -1);
    link.monitor = Monitor(link.socket);
    try {
      link.socket.connect(endpoint);
    } catch (const zmq::error_t&) {
      continue;  // an address of a family that this host does not have
    }
    links_.push_back(std::move(link));
  }
}

zmq::socket_t BeatSockets::Monitor(zmq::socket_t& socket) {
  const std::string name = fmt::format("inproc://ends-{}-{}", rank_, n_monitors_++);
  if (zmq_socket_monitor(socket.handle(), name.c_str(), ZMQ_EVENT_DISCONNECTED) != 0)
    throw zmq::error_t();
  zmq::socket_t monitor(context_, zmq::socket_type::pair);
  monitor.set(zmq::sockopt::linger, 0);
  monitor.connect(name);
  return monitor;
}

void BeatSockets::SendHello() {
  HeartbeatFrame hello{.kind = HeartbeatFrame::Kind::kHello, .rank = rank_, .token = token_};
  const std::string bytes = EncodeFrame(hello);
  for (Link& link : links_) {
    if (!link.answered) link.socket.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  }
}

bool BeatSockets::ready() const {
  const size_t n_higher = hub_ ? static_cast<size_t>(size_ - 1 - rank_) : 0;
  return routes_.size() == n_higher && unreached().empty();
}

std::vector<int> BeatSockets::unreached() const {
  std::vector<int> hubs;
  for (const int hub : hubs_) {
    const bool answered = std::ranges::any_of(
        links_, [hub](const Link& link) { return link.hub == hub && link.answered; });
    if (!answered) hubs.push_back(hub);
  }
  return hubs;
}

void BeatSockets::Send(HeartbeatFrame frame) {
  frame.rank = rank_;
  frame.token = token_;
  const std::string bytes = EncodeFrame(frame);
  for (const auto& [rank, route] : routes_) {
    if (hub_.send(zmq::buffer(route.id), zmq::send_flags::sndmore | zmq::send_flags::dontwait))
      hub_.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  }
  for (Link& link : links_) {
    if (link.answered && !link.ended)
      link.socket.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  }
}

std::vector<BeatSockets::Event> BeatSockets::Wait(std::chrono::milliseconds timeout, int wake_fd) {
  std::vector<zmq::pollitem_t> items = {{nullptr, wake_fd, ZMQ_POLLIN, 0}};
  if (hub_) {
    items.push_back({hub_.handle(), 0, ZMQ_POLLIN, 0});
    items.push_back({hub_monitor_.handle(), 0, ZMQ_POLLIN, 0});
  }
  for (Link& link : links_) {
    items.push_back({link.socket.handle(), 0, ZMQ_POLLIN, 0});
    items.push_back({link.monitor.handle(), 0, ZMQ_POLLIN, 0});
  }
  try {
    zmq::poll(items, timeout);
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw;
  }
  std::vector<Event> events;
  if (hub_) {
    ReadHub(events);
    for (const int fd : ReadEnds(hub_monitor_)) {
      const auto route =
          std::ranges::find_if(routes_, [fd](const auto& entry) { return entry.second.fd == fd; });
      if (route == routes_.end()) continue;  // a stranger's
      route->second.fd = -1;
      events.push_back({.closed = true, .rank = route->first});
    }
  }
  for (Link& link : links_) {
    ReadLink(link, events);
    if (ReadEnd(link) && link.answered) events.push_back({.closed = true, .rank = link.hub});
  }
  DropOtherLinks();
  return events;
}

bool BeatSockets::Accept(const HeartbeatFrame& frame) const {
  return frame.token == token_ && frame.rank >= 0 && frame.rank < size_ && frame.rank != rank_;
}

void BeatSockets::ReadHub(std::vector<Event>& events) {
  while (auto parts = Receive(hub_)) {
    if (parts->size() != 2) continue;
    auto frame = Decode(parts->back());
    if (!frame || !Accept(*frame) || frame->rank < rank_) continue;
    const std::string id = parts->front().to_string();
    switch (frame->kind) {
      case HeartbeatFrame::Kind::kHello: {
        const HeartbeatFrame welcome{
            .kind = HeartbeatFrame::Kind::kWelcome, .rank = rank_, .token = token_};
        if (hub_.send(zmq::buffer(id), zmq::send_flags::sndmore | zmq::send_flags::dontwait))
          hub_.send(zmq::buffer(EncodeFrame(welcome)), zmq::send_flags::dontwait);
        break;
      }
      case HeartbeatFrame::Kind::kWelcome:
        break;
      default:
        // Only on the connection that the rank has chosen does it beat.
        routes_[frame->rank] = {id, zmq_msg_get(parts->back().handle(), ZMQ_SRCFD)};
        events.push_back({.rank = frame->rank, .frame = std::move(*frame)});
    }
  }
}

void BeatSockets::ReadLink(Link& link, std::vector<Event>& events) {
  while (auto parts = Receive(link.socket)) {
    if (parts->size() != 1) continue;
    auto frame = Decode(parts->front());
    if (!frame || !Accept(*frame) || frame->rank != link.hub) continue;
    if (frame->kind == HeartbeatFrame::Kind::kHello) continue;
    if (frame->kind == HeartbeatFrame::Kind::kWelcome) {
      link.answered = std::ranges::none_of(links_, [&](const Link& other) {
        return &other != &link && other.hub == link.hub && other.answered;
      });
      continue;
    }
    if (link.answered) events.push_back({.rank = link.hub, .frame = std::move(*frame)});
  }
}

// Whether the link has ended since the last look. What was told to who has gone is not waited for.
bool BeatSockets::ReadEnd(Link& link) {
  if (ReadEnds(link.monitor).empty()) return false;
  link.ended = true;
  link.socket.set(zmq::sockopt::linger, 0);
  return true;
}

// A hub that answered at one address is not asked at its others any more.
void BeatSockets::DropOtherLinks() {
  std::erase_if(links_, [&](Link& link) {
    const bool superseded = !link.answered && std::ranges::any_of(links_, [&](const Link& other) {
      return other.hub == link.hub && other.answered;
    });
    if (superseded) link.socket.set(zmq::sockopt::linger, 0);
    return superseded;
  });
}

// Connections of this socket that have ended since the last look.
std::vector<int> BeatSockets::ReadEnds(zmq::socket_t& monitor) {
  std::vector<int> fds;
  while (auto parts = Receive(monitor)) {
    if (parts->empty() || parts->front().size() < sizeof(uint16_t) + sizeof(uint32_t)) continue;
    uint16_t event = 0;
    uint32_t value = 0;
    std::memcpy(&event, parts->front().data(), sizeof(event));
    std::memcpy(&value, static_cast<const char*>(parts->front().data()) + sizeof(event),
                sizeof(value));
    if (event == ZMQ_EVENT_DISCONNECTED) fds.push_back(static_cast<int>(value));
  }
  return fds;
}

}  // namespace kvfold::internal
