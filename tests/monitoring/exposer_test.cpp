#include "monitoring/exposer.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace lockstep::monitoring {
namespace {

// Shows how often it was collected.
class Count final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::MetricFamily family{"count", "", prometheus::MetricType::Gauge, {}};
    family.metric.emplace_back().gauge.value = ++times;
    return {family};
  }
  mutable std::atomic<int> times{0};
};

struct Answer {
  long status = 0;
  std::string body;
};

using Call = std::unique_ptr<CURL, void (*)(CURL*)>;

Answer ask(CURL* call, int port, const std::string& path, const std::string& host = "127.0.0.1") {
  Answer answer;
  const std::string url = "http://" + host + ":" + std::to_string(port) + path;
  curl_easy_setopt(call, CURLOPT_URL, url.c_str());
  curl_easy_setopt(call, CURLOPT_TIMEOUT, 10L);
  curl_easy_setopt(call, CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(
      call, CURLOPT_WRITEFUNCTION, +[](char* bytes, size_t, size_t count, void* body) {
        static_cast<std::string*>(body)->append(bytes, count);
        return count;
      });
  EXPECT_EQ(curl_easy_perform(call), CURLE_OK);
  curl_easy_getinfo(call, CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

Answer ask(int port, const std::string& path, const std::string& host = "127.0.0.1") {
  return ask(Call(curl_easy_init(), &curl_easy_cleanup).get(), port, path, host);
}

TEST(Exposer, AConnectionIsKeptForTheNextScrape) {
  const Exposer exposer("127.0.0.1", 0, {std::make_shared<Count>()});
  const Call call(curl_easy_init(), &curl_easy_cleanup);
  for (const long made : {1L, 0L, 0L}) {
    EXPECT_EQ(ask(call.get(), exposer.port(), "/metrics").status, 200);
    long connections = -1;
    curl_easy_getinfo(call.get(), CURLINFO_NUM_CONNECTS, &connections);
    EXPECT_EQ(connections, made);
  }
  // With a body too, as nobody sends it.
  curl_easy_setopt(call.get(), CURLOPT_COPYPOSTFIELDS, "body");
  curl_easy_setopt(call.get(), CURLOPT_CUSTOMREQUEST, "GET");
  EXPECT_EQ(ask(call.get(), exposer.port(), "/metrics").status, 200);
  curl_easy_setopt(call.get(), CURLOPT_CUSTOMREQUEST, "POST");
  EXPECT_EQ(ask(call.get(), exposer.port(), "/metrics").status, 405);
}

TEST(Exposer, ManyScrapesShareAPage) {
  using std::chrono::steady_clock;
  const auto count = std::make_shared<Count>();
  const Exposer exposer("127.0.0.1", 0, {count});
  ASSERT_NE(exposer.port(), 0) << exposer.failure();
  const auto begin = steady_clock::now();
  for (int i = 0; i < 200; ++i) {
    const Answer answer = ask(exposer.port(), "/metrics");
    EXPECT_EQ(answer.status, 200);
    EXPECT_NE(answer.body.find("\ncount "), std::string::npos);
  }
  const std::chrono::duration<double> passed = steady_clock::now() - begin;
  EXPECT_LE(count->times, 1 + passed.count() / 0.25);
}

TEST(Exposer, APageIsMadeAnew) {
  const auto count = std::make_shared<Count>();
  const Exposer exposer("127.0.0.1", 0, {count});
  const std::string first = ask(exposer.port(), "/metrics").body;
  while (ask(exposer.port(), "/metrics").body == first) {
  }
  EXPECT_EQ(count->times, 2);
}

TEST(Exposer, OtherPathsAreNotThere) {
  const Exposer exposer("127.0.0.1", 0, {});
  EXPECT_EQ(ask(exposer.port(), "/").status, 404);
}

TEST(Exposer, APortThatIsTakenIsToldOf) {
  const Exposer one("127.0.0.1", 0, {});
  const Exposer other("127.0.0.1", one.port(), {});
  EXPECT_EQ(other.port(), 0);
  EXPECT_EQ(other.failure(),
            "127.0.0.1:" + std::to_string(one.port()) + ": Address already in use");
}

TEST(Exposer, AnAddressThatIsNoneIsToldOf) {
  const Exposer exposer("999.0.0.1", 0, {});
  EXPECT_EQ(exposer.port(), 0);
  EXPECT_EQ(exposer.failure().find("999.0.0.1:0: "), 0U) << exposer.failure();
}

TEST(Exposer, ListensByTheNewerProtocolToo) {
  const Exposer exposer("::1", 0, {std::make_shared<Count>()});
  ASSERT_NE(exposer.port(), 0) << exposer.failure();
  EXPECT_EQ(ask(exposer.port(), "/metrics", "[::1]").status, 200);
}

// A socket that is connected to the endpoint, if somebody is there.
int connected(int port) {
  const int one = socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address{.sin_family = AF_INET,
                            .sin_port = htons(static_cast<uint16_t>(port)),
                            .sin_addr = {htonl(INADDR_LOOPBACK)},
                            .sin_zero = {}};
  connect(one, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return one;
}

TEST(Exposer, ConnectionsThatSayNothingHoldUpNobody) {
  const Exposer exposer("127.0.0.1", 0, {std::make_shared<Count>()});
  std::vector<int> silent;
  for (int i = 0; i < 40; ++i) silent.push_back(connected(exposer.port()));
  EXPECT_EQ(ask(exposer.port(), "/metrics").status, 200);
  for (const int one : silent) close(one);
}

TEST(Exposer, EndsWhileRequestsComeThatAreNone) {
  const std::string garbage[] = {"NONE\r\n\r\n", "GET " + std::string(99999, '/'),
                                 "DELETE /metrics HTTP/1.1\r\n\r\n",
                                 "GET /metrics HTTP/9.9\r\nContent-Length: -7\r\n\r\n"};
  for (int round = 0; round < 40; ++round) {
    std::optional<Exposer> exposer(std::in_place, "127.0.0.1", 0,
                                   Exposer::Shown{std::make_shared<Count>()});
    std::atomic<int> sent = 0;
    const std::jthread client([&, port = exposer->port()](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        const int one = connected(port);
        const std::string& words = garbage[static_cast<size_t>(sent) % std::size(garbage)];
        send(one, words.data(), words.size(), MSG_NOSIGNAL);
        close(one);
        ++sent;
      }
    });
    while (sent < 5) std::this_thread::yield();
    exposer.reset();
  }
}

}  // namespace
}  // namespace lockstep::monitoring
