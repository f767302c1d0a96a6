// comm/heartbeat/beat_sockets.h: the heartbeat's connections over ZeroMQ. The lowest ranks are
// hubs: each binds a socket, and every rank connects to all hubs below it. Over a connection both
// sides tell; its end is noticed within milliseconds where the system closes it (a killed process),
// else not at all (a stopped process, a lost host).
//
// What comes from strangers is dropped: frames that do not decode or lack the token, and the ends
// of connections that never brought one.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "comm/heartbeat/frame.h"

namespace kvfold::internal {

// One rank's. Used by one thread at a time; the first calls may come from another.
class BeatSockets {
 public:
  struct Event {
    bool closed = false;  // the connection to `rank` has ended; else `frame` came from it
    int rank = 0;
    HeartbeatFrame frame;  // all kinds but kHello and kWelcome
  };

  BeatSockets(zmq::context_t& context, int rank, int size);
  BeatSockets(const BeatSockets&) = delete;
  BeatSockets& operator=(const BeatSockets&) = delete;
  ~BeatSockets();

  // A hub: binds on all interfaces; returns the port. Throws CommError.
  int Bind();
  void SetToken(const HeartbeatToken& token) { token_ = token; }
  // Tries all endpoints at once; the first that answers with the token is kept.
  void Connect(int hub, const std::vector<std::string>& endpoints);
  // Again and again until ready: asks hubs that have not answered.
  void SendHello();
  // Whether every hub asked has answered and, on a hub, every higher rank has been heard.
  bool ready() const;
  // Hubs asked that have not answered.
  std::vector<int> unreached() const;

  // To every rank that this one is connected with. Drops what a rank does not take.
  void Send(HeartbeatFrame frame);
  // What came within `timeout`, or until wake_fd can be read. Frames before ends.
  std::vector<Event> Wait(std::chrono::milliseconds timeout, int wake_fd);

 private:
  // A connection of this rank to a hub, and the socket that tells its end.
  struct Link {
    int hub = 0;
    bool answered = false;
    bool ended = false;
    zmq::socket_t socket, monitor;
  };
  struct Route {
    std::string id;
    int fd = -1;  // of the connection, as the monitor names it
  };

  zmq::socket_t Monitor(zmq::socket_t& socket);
  void ReadHub(std::vector<Event>& events);
  void ReadLink(Link& link, std::vector<Event>& events);
  bool ReadEnd(Link& link);
  void DropOtherLinks();
  std::vector<int> ReadEnds(zmq::socket_t& monitor);
  bool Accept(const HeartbeatFrame& frame) const;

  zmq::context_t& context_;
  int rank_;
  int size_;
  int n_monitors_ = 0;
  HeartbeatToken token_{};
  zmq::socket_t hub_, hub_monitor_;  // hubs only
  std::vector<int> hubs_;            // that this rank was told to connect to
  std::vector<Link> links_;
  std::map<int, Route> routes_;  // on a hub: of the ranks that were heard
};

}  // namespace kvfold::internal
