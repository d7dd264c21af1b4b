#include "monitoring/exposer.h"

#include <CivetServer.h>
#include <fmt/format.h>
#include <prometheus/collectable.h>

#include <chrono>
#include <exception>
#include <mutex>
#include <string_view>
#include <utility>

#include "monitoring/run_metrics.h"

namespace lockstep::monitoring {
namespace {

// Making a page costs more than all else of a request.
constexpr std::chrono::milliseconds kFresh{250};

}  // namespace

class Exposer::Page final : public CivetHandler {
 public:
  explicit Page(Shown shown) : shown_(std::move(shown)) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    const std::shared_ptr<const std::string> answer = fresh_answer();
    mg_write(connection, answer->data(), answer->size());
    return true;
  }

 private:
  std::shared_ptr<const std::string> fresh_answer() {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (!answer_ || now - made_ > kFresh) {
      made_ = now;
      const std::string text = text_format(shown_, "");
      answer_ = std::make_shared<const std::string>(fmt::format(
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
          "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
          text.size(), text));
    }
    return answer_;
  }

  Shown shown_;
  std::mutex mutex_;  // of what follows
  std::shared_ptr<const std::string> answer_;
  std::chrono::steady_clock::time_point made_;
};

Exposer::Exposer(const std::string& address, int port, Shown shown)
    : page_(std::make_unique<Page>(std::move(shown))) {
  try {
    // A connection that says nothing holds one of the threads for two seconds.
    server_ = std::make_unique<CivetServer>(
        std::vector<std::string>{"listening_ports", fmt::format("{}:{}", address, port),
                                 "num_threads", "2", "request_timeout_ms", "2000"});
    server_->addHandler("/metrics", *page_);
    port_ = server_->getListeningPorts().at(0);
  } catch (const std::exception& error) {
    failure_ = error.what();
  }
}

Exposer::~Exposer() = default;

}  // namespace lockstep::monitoring
