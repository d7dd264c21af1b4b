#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

struct MHD_Daemon;

namespace prometheus {
class Collectable;
}

namespace lockstep::monitoring {

/// A Prometheus endpoint, /metrics over HTTP, served by a thread of its own, which waits for
/// nobody: connections that say nothing or read slowly hold up no other. A page is at most a
/// quarter of a second old, however often it is asked for. A failure of it never stops a run: what
/// could not be opened says why in failure().
class Exposer {
 public:
  using Shown = std::vector<std::shared_ptr<prometheus::Collectable>>;

  /// `port` 0: any free one.
  Exposer(const std::string& address, int port, Shown shown);
  ~Exposer();

  int port() const { return port_; }  // 0 if it could not be opened
  const std::string& failure() const { return failure_; }

 private:
  struct Stop {
    void operator()(MHD_Daemon* server) const;
  };
  class Page;

  std::unique_ptr<Page> page_;  // before the server, which uses it
  std::unique_ptr<MHD_Daemon, Stop> server_;
  // Not the library's own, which may crash over a request that comes while it stops: this one ends
  // before the server is stopped.
  std::jthread thread_;
  std::string failure_;
  int port_ = 0;
};

}  // namespace lockstep::monitoring
