#include "monitoring/exposer.h"

#include <fmt/format.h>
#include <microhttpd.h>
#include <netdb.h>
#include <prometheus/collectable.h>
#include <pthread.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <utility>

#include "monitoring/run_metrics.h"

namespace lockstep::monitoring {
namespace {

using Response = std::unique_ptr<MHD_Response, decltype(&MHD_destroy_response)>;

// Making a page costs more than all else of a request.
constexpr std::chrono::milliseconds kFresh{250};
constexpr unsigned kMostConnections = 200;
constexpr unsigned kSilenceSeconds = 5;  // after which a connection is closed
constexpr int kLookMilliseconds = 100;   // between looks whether this is over

Response respond_with(std::string_view text) {
  // The library copies what it is given.
  return {MHD_create_response_from_buffer(text.size(), const_cast<char*>(text.data()),
                                          MHD_RESPMEM_MUST_COPY),
          &MHD_destroy_response};
}

}  // namespace

// Used by the server's thread alone.
class Exposer::Page {
 public:
  explicit Page(Shown shown) : shown_(std::move(shown)) {}

  static MHD_Result answer(void* self, MHD_Connection* connection, const char* path,
                           const char* method, const char*, const char*, size_t* body_bytes,
                           void** seen) {
    const std::string_view asked = method;
    if (asked != MHD_HTTP_METHOD_GET && asked != MHD_HTTP_METHOD_HEAD) {
      return MHD_queue_response(connection, MHD_HTTP_METHOD_NOT_ALLOWED, respond_with("").get());
    }
    // Called for the head, each piece of a body and the end; who is answered before the end is
    // cut off, and has to connect anew for the next scrape.
    if (std::exchange(*seen, self) == nullptr || *body_bytes > 0) {
      *body_bytes = 0;
      return MHD_YES;
    }
    if (std::string_view(path) != "/metrics") {
      return MHD_queue_response(connection, MHD_HTTP_NOT_FOUND, respond_with("").get());
    }
    return MHD_queue_response(connection, MHD_HTTP_OK, static_cast<Page*>(self)->fresh());
  }

 private:
  MHD_Response* fresh() {
    const auto now = std::chrono::steady_clock::now();
    if (!response_ || now - made_ > kFresh) {
      made_ = now;
      response_ = respond_with(text_format(shown_, ""));
      MHD_add_response_header(response_.get(), MHD_HTTP_HEADER_CONTENT_TYPE,
                              "text/plain; version=0.0.4; charset=utf-8");
    }
    return response_.get();
  }

  Shown shown_;
  Response response_{nullptr, &MHD_destroy_response};
  std::chrono::steady_clock::time_point made_;
};

Exposer::Exposer(const std::string& address, int port, Shown shown)
    : page_(std::make_unique<Page>(std::move(shown))) {
  const std::string where = fmt::format("{}:{}", address, port);
  addrinfo hints{}, *found = nullptr;
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  if (const int error =
          getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found)) {
    failure_ = fmt::format("{}: {}", where, gai_strerror(error));
    return;
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  const int family = found->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0;
  errno = 0;
  server_.reset(MHD_start_daemon(MHD_USE_EPOLL | family, 0, nullptr, nullptr, &Page::answer,
                                 page_.get(), MHD_OPTION_SOCK_ADDR, found->ai_addr,
                                 MHD_OPTION_CONNECTION_LIMIT, kMostConnections,
                                 MHD_OPTION_CONNECTION_TIMEOUT, kSilenceSeconds, MHD_OPTION_END));
  if (!server_) {
    failure_ = fmt::format("{}: {}", where, std::strerror(errno));
    return;
  }
  port_ = MHD_get_daemon_info(server_.get(), MHD_DAEMON_INFO_BIND_PORT)->port;
  thread_ = std::jthread([server = server_.get()](const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "metrics");  // tests/bench/scrapes.py looks for it
    while (!stop.stop_requested()) MHD_run_wait(server, kLookMilliseconds);
  });
}

Exposer::~Exposer() = default;

void Exposer::Stop::operator()(MHD_Daemon* server) const { MHD_stop_daemon(server); }

}  // namespace lockstep::monitoring
