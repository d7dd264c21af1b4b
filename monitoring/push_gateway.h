#pragma once

#include <string>

namespace lockstep::monitoring {

/// Prometheus' Pushgateway, which keeps the last word of runs that are over: the group
/// job="lockstep", run=<run>. Each call takes five seconds at most and returns what went wrong,
/// empty for nothing.
class PushGateway {
 public:
  /// `address`: "http://host:9091".
  PushGateway(const std::string& address, const std::string& run);

  /// `text` in Prometheus' text format takes the place of all that the group had.
  std::string put(const std::string& text) const;
  /// The run goes on: what the gateway says of it is no longer true.
  std::string forget() const;

 private:
  std::string send(const char* method, const std::string& text) const;

  std::string url_;
};

}  // namespace lockstep::monitoring
