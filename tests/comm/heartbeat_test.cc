// The heartbeat over real sockets: ranks are threads, strangers knock.
#include "comm/heartbeat/heartbeat.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <mutex>
#include <random>
#include <thread>
#include <zmq.hpp>

#include "comm/error.h"
#include "comm/heartbeat/addresses.h"
#include "comm/heartbeat/beat_sockets.h"
#include "comm/heartbeat/frame.h"
#include "comm/local/local_group.h"

namespace kvfold {
namespace {

using internal::BeatSockets;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using Clock = std::chrono::steady_clock;

HeartbeatFrame Sample() {
  HeartbeatFrame frame{.kind = HeartbeatFrame::Kind::kFailed,
                       .rank = 3,
                       .progress = {Phase::kComputing, 7, 12, 99},
                       .subject = 2,
                       .exit_code = 3,
                       .in_communication = true,
                       .text = "it broke"};
  for (size_t i = 0; i < frame.token.size(); ++i) frame.token[i] = static_cast<uint8_t>(i * 7);
  return frame;
}

std::optional<HeartbeatFrame> Decode(const std::string& bytes) {
  return DecodeFrame(std::as_bytes(std::span(bytes)));
}

TEST(HeartbeatFrame, ComesBackAsItWas) {
  EXPECT_EQ(Decode(EncodeFrame(Sample())), Sample());
  HeartbeatFrame longest = Sample();
  longest.text.assign(kMaxTextBytes, 'x');
  EXPECT_EQ(Decode(EncodeFrame(longest)), longest);
  EXPECT_LE(EncodeFrame(longest).size(), kMaxFrameBytes);
  HeartbeatFrame longer = longest;
  longer.text += "cut";
  EXPECT_EQ(Decode(EncodeFrame(longer)), longest);
}

TEST(HeartbeatFrame, MalformedBytesAreNoFrame) {
  const std::string good = EncodeFrame(Sample());
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(Decode(good.substr(0, length))) << length;
  }
  EXPECT_FALSE(Decode(good + "x"));
  // Magic, version, kind, phase, flag: every byte that is out of its range.
  for (const auto& [at, value] : std::vector<std::pair<size_t, char>>{
           {0, 'k'}, {3, 'b'}, {4, 2}, {4, 0}, {5, 7}, {5, -1}, {6, 6}, {6, -1}, {7, 2}}) {
    std::string bad = good;
    bad[at] = value;
    EXPECT_FALSE(Decode(bad)) << at;
  }
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = i % 2 == 0 ? good : std::string(random() % 200, '\0');
    for (size_t n = 0; n < 1 + random() % 8 && !bytes.empty(); ++n)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (const auto frame = Decode(bytes)) {
      EXPECT_EQ(EncodeFrame(*frame), bytes);
    }
  }
}

TEST(HostAddresses, EndWithLoopback) {
  const auto addresses = HostAddresses();
  ASSERT_FALSE(addresses.empty());
  EXPECT_EQ(addresses.back(), "127.0.0.1");
  EXPECT_FALSE(HostName().empty());
}

// A hub and one rank that connects to it.
class Pair {
 public:
  Pair()
      : hub_(std::make_unique<BeatSockets>(context_, 0, 2)),
        spoke_(std::make_unique<BeatSockets>(context_, 1, 2)) {
    token_.fill(42);
    hub_->SetToken(token_);
    spoke_->SetToken(token_);
    port_ = hub_->Bind();
    // Nobody answers at the first of them: port 1 of this host.
    spoke_->Connect(0, {"tcp://127.0.0.1:1", fmt::format("tcp://127.0.0.1:{}", port_)});
    spoke_->SendHello();
  }
  // Until both are ready, or two seconds.
  bool Meet() {
    for (int i = 0; i < 200 && !(hub_->ready() && spoke_->ready()); ++i) {
      hub_->Wait(milliseconds(5), -1);
      spoke_->Wait(milliseconds(5), -1);
      spoke_->Send({.kind = HeartbeatFrame::Kind::kBeat});
    }
    return hub_->ready() && spoke_->ready();
  }
  std::vector<BeatSockets::Event> AtHub(milliseconds time = milliseconds(300)) {
    std::vector<BeatSockets::Event> events;
    const auto end = Clock::now() + time;
    while (Clock::now() < end) {
      for (auto& event : hub_->Wait(milliseconds(20), -1)) events.push_back(std::move(event));
    }
    return events;
  }

  zmq::context_t context_;
  HeartbeatToken token_{};
  std::unique_ptr<BeatSockets> hub_;
  std::unique_ptr<BeatSockets> spoke_;
  int port_ = 0;
};

TEST(BeatSockets, CarryFramesBothWaysAndTellTheEnd) {
  Pair pair;
  ASSERT_TRUE(pair.Meet());
  pair.AtHub(milliseconds(50));
  HeartbeatFrame frame = Sample();
  frame.token = pair.token_;
  frame.rank = 1;
  pair.spoke_->Send(frame);
  auto events = pair.AtHub();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].frame, frame);
  pair.hub_->Send(Sample());
  std::vector<BeatSockets::Event> answers;
  for (int i = 0; i < 50 && answers.empty(); ++i) answers = pair.spoke_->Wait(milliseconds(20), -1);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].rank, 0);
  EXPECT_EQ(answers[0].frame.text, "it broke");

  pair.spoke_->Send({.kind = HeartbeatFrame::Kind::kBye});
  pair.spoke_.reset();
  events = pair.AtHub();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].frame.kind, HeartbeatFrame::Kind::kBye);
  EXPECT_TRUE(events[1].closed);
  EXPECT_EQ(events[1].rank, 1);
}

// A rank may be busy elsewhere while another says farewell and goes.
TEST(BeatSockets, AFarewellIsReadAfterTheEndOfItsConnection) {
  for (const bool hub_leaves : {true, false}) {
    Pair pair;
    ASSERT_TRUE(pair.Meet());
    auto& leaving = hub_leaves ? pair.hub_ : pair.spoke_;
    auto& staying = hub_leaves ? pair.spoke_ : pair.hub_;
    while (!staying->Wait(milliseconds(50), -1).empty()) {
    }
    leaving->Send({.kind = HeartbeatFrame::Kind::kBye});
    leaving.reset();
    std::this_thread::sleep_for(milliseconds(300));
    std::vector<BeatSockets::Event> events;
    for (int i = 0; i < 10; ++i) {
      for (auto& event : staying->Wait(milliseconds(20), -1)) events.push_back(std::move(event));
    }
    ASSERT_EQ(events.size(), 2u) << hub_leaves;
    EXPECT_EQ(events[0].frame.kind, HeartbeatFrame::Kind::kBye);
    EXPECT_TRUE(events[1].closed);
  }
}

// What is told to a rank that has gone holds up nobody's end: a frame may take a second to leave.
TEST(BeatSockets, ARankThatHasGoneIsNotWaitedFor) {
  for (const bool noticed : {true, false}) {
    const auto pair = std::make_unique<Pair>();
    ASSERT_TRUE(pair->Meet());
    pair->hub_.reset();
    std::this_thread::sleep_for(milliseconds(100));
    if (noticed) pair->spoke_->Wait(milliseconds(20), -1);
    pair->spoke_->Send({.kind = HeartbeatFrame::Kind::kBye});
    pair->spoke_.reset();
    const auto begin = Clock::now();
    pair->context_.close();
    EXPECT_LT(Clock::now() - begin, milliseconds(900)) << noticed;
  }
}

TEST(BeatSockets, AHubThatIsNotThereIsNamed) {
  Pair pair;
  zmq::context_t context;
  BeatSockets lonely(context, 1, 2);
  lonely.SetToken(pair.token_);
  EXPECT_TRUE(lonely.ready());
  lonely.Connect(0, {"tcp://127.0.0.1:1", "nonsense", "tcp://999.1.1.1:5"});
  lonely.SendHello();
  for (int i = 0; i < 5; ++i) lonely.Wait(milliseconds(20), -1);
  EXPECT_FALSE(lonely.ready());
  EXPECT_EQ(lonely.unreached(), std::vector<int>{0});
}

TEST(BeatSockets, StrangersAreNotHeard) {
  Pair pair;
  ASSERT_TRUE(pair.Meet());
  pair.AtHub(milliseconds(50));
  const std::string endpoint = fmt::format("tcp://127.0.0.1:{}", pair.port_);
  HeartbeatFrame forged = Sample();  // another token
  forged.rank = 1;
  forged.kind = HeartbeatFrame::Kind::kVerdict;
  HeartbeatFrame nobody = Sample();
  nobody.token = pair.token_;
  std::mt19937 random(3);
  {
    zmq::socket_t stranger(pair.context_, zmq::socket_type::dealer);
    stranger.set(zmq::sockopt::linger, 0);
    stranger.connect(endpoint);
    const auto send = [&](const std::string& bytes, zmq::send_flags flags) {
      stranger.send(zmq::buffer(bytes), flags | zmq::send_flags::dontwait);
    };
    send(EncodeFrame(forged), zmq::send_flags::none);
    for (const int rank : {-1, 0, 2, 1 << 30}) {
      nobody.rank = rank;
      send(EncodeFrame(nobody), zmq::send_flags::none);
    }
    send("", zmq::send_flags::none);
    for (int i = 0; i < 500; ++i) {
      std::string bytes = EncodeFrame(forged);
      bytes[random() % bytes.size()] = static_cast<char>(random());
      send(bytes, random() % 4 == 0 ? zmq::send_flags::sndmore : zmq::send_flags::none);
    }
    send("", zmq::send_flags::none);
    EXPECT_THAT(pair.AtHub(), IsEmpty());
    send(std::string(1 << 20, 'x'), zmq::send_flags::none);  // closes the stranger's connection
    EXPECT_THAT(pair.AtHub(), IsEmpty());
  }
  // Not even ZeroMQ.
  for (int i = 0; i < 8; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(pair.port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    std::string bytes(static_cast<size_t>(i) * 100, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    close(fd);
  }
  EXPECT_THAT(pair.AtHub(), IsEmpty());
  pair.spoke_->Send({.kind = HeartbeatFrame::Kind::kBeat});
  EXPECT_EQ(pair.AtHub().size(), 1u);
}

// What each rank's heartbeat ended with.
struct Ends {
  std::mutex mutex;
  std::vector<std::string> sentences;  // said, by any rank
  std::atomic<int> n_ended = 0;
  std::atomic<int> exit_code = 0;
};

HeartbeatOptions Options(int rank, Ends& ends) {
  HeartbeatOptions options;
  options.host = fmt::format("node{}", rank);
  options.device = "cpu";
  options.interval = milliseconds(50);
  options.say = [&ends](const std::string& sentence) {
    const std::lock_guard lock(ends.mutex);
    ends.sentences.push_back(sentence);
  };
  options.end = [&ends](int exit_code) {
    ends.exit_code = exit_code;
    ++ends.n_ended;
  };
  return options;
}

void AwaitEnds(const Ends& ends, int n_ranks) {
  for (int i = 0; i < 1000 && ends.n_ended < n_ranks; ++i)
    std::this_thread::sleep_for(milliseconds(10));
}

TEST(Heartbeat, EndsInPeaceAtDifferentMoments) {
  for (const int n_ranks : {2, 3, 6}) {
    Ends ends;
    RunLocalRanks(n_ranks, [&](Communicator& communicator) {
      HeartbeatOptions options = Options(communicator.rank(), ends);
      options.host.clear();  // all on this one
      Heartbeat heartbeat(communicator, options);
      std::this_thread::sleep_for(milliseconds(300 * (communicator.rank() * 2 % n_ranks)));
      heartbeat.Close();
    });
    EXPECT_EQ(ends.n_ended, 0) << n_ranks;
    EXPECT_THAT(ends.sentences, IsEmpty());
  }
}

TEST(Heartbeat, AnEndWaitsForItsAnswerAndForNobodyWhoHasGone) {
  Ends ends;
  RunLocalRanks(3, [&](Communicator& communicator) {
    Heartbeat heartbeat(communicator, Options(communicator.rank(), ends));
    // One after the other: those before have gone, those after answer.
    std::this_thread::sleep_for(milliseconds(200 * communicator.rank()));
    const auto begin = Clock::now();
    heartbeat.Close();
    EXPECT_LT(Clock::now() - begin, milliseconds(900));  // nobody's answer is missed
  });
  EXPECT_EQ(ends.n_ended, 0);
}

TEST(Heartbeat, OneFailureIsOneSentenceAndTheEndOfAll) {
  for (const int n_ranks : {2, 3, 6}) {
    for (const int failing : {0, 1, n_ranks - 1}) {
      Ends ends;
      RunLocalRanks(n_ranks, [&](Communicator& communicator) {
        Heartbeat heartbeat(communicator, Options(communicator.rank(), ends));
        communicator.progress().BeginStep();
        communicator.progress().BeginLayer(4);
        if (communicator.rank() == failing) heartbeat.Fail("it broke", 3, false);
        AwaitEnds(ends, n_ranks);
      });
      EXPECT_EQ(ends.n_ended, n_ranks);
      EXPECT_EQ(ends.exit_code, 3);
      EXPECT_THAT(ends.sentences,
                  testing::ElementsAre(fmt::format(
                      "rank {0} on node{0}, device cpu, step 1 layer 4: it broke", failing)));
    }
  }
}

TEST(Heartbeat, ADeviceIsNamedOnceItIsKnown) {
  const std::string long_name = "cuda 1 " + std::string(100, 'x');
  for (const int failing : {0, 1}) {
    Ends ends;
    RunLocalRanks(3, [&](Communicator& communicator) {
      Heartbeat heartbeat(communicator, Options(communicator.rank(), ends));
      heartbeat.NameDevice(communicator.rank() == 1 ? long_name : "cuda 0 NVIDIA H100 80GB HBM3");
      if (communicator.rank() == failing) heartbeat.Fail("it broke", 3, false);
      AwaitEnds(ends, 3);
    });
    ASSERT_EQ(ends.sentences.size(), 1u);
    EXPECT_THAT(ends.sentences[0],
                testing::StartsWith(fmt::format(
                    "rank {0} on node{0}, device {1}, ", failing,
                    failing == 1 ? long_name.substr(0, 63) : "cuda 0 NVIDIA H100 80GB HBM3")));
  }
}

TEST(Heartbeat, AStuckRankEndsTheJobAndASlowOneDoesNot) {
  for (const bool advances : {true, false}) {
    Ends ends;
    RunLocalRanks(3, [&](Communicator& communicator) {
      Heartbeat heartbeat(communicator, Options(communicator.rank(), ends));
      heartbeat.SetStepTimeout(milliseconds(1500));
      communicator.progress().BeginStep();
      if (communicator.rank() != 1) communicator.progress().Enter(Phase::kWaiting);
      for (int i = 0; i < 30; ++i) {
        std::this_thread::sleep_for(milliseconds(100));
        if (advances && i % 4 == 0) communicator.progress().Tick();
      }
      if (!advances) AwaitEnds(ends, 3);
    });
    EXPECT_EQ(ends.n_ended, advances ? 0 : 3);
    if (advances) {
      EXPECT_THAT(ends.sentences, IsEmpty());
    } else {
      ASSERT_EQ(ends.sentences.size(), 1u);
      EXPECT_THAT(ends.sentences[0],
                  MatchesRegex("rank 1 on node1, device cpu, step 1 layer 0: no progress for "
                               "1.5 s .*"));
    }
  }
}

TEST(Heartbeat, AnotherRanksVerdictIsNotRepeated) {
  Ends ends;
  RunLocalRanks(3, [&](Communicator& communicator) {
    Heartbeat heartbeat(communicator, Options(communicator.rank(), ends));
    heartbeat.Fail(fmt::format("rank {} broke", communicator.rank()), 1, false);
    AwaitEnds(ends, 3);
  });
  EXPECT_EQ(ends.sentences.size(), 1u);
}

}  // namespace
}  // namespace kvfold
