#include "monitoring/exposer.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <exception>
#include <utility>

namespace lockstep::monitoring {

Exposer::Exposer(const std::string& address, int port, Shown shown) : shown_(std::move(shown)) {
  try {
    server_ = std::make_unique<prometheus::Exposer>(address + ":" + std::to_string(port),
                                                    /*num_threads=*/2);
    for (const auto& each : shown_) server_->RegisterCollectable(each);
    port_ = server_->GetListeningPorts().at(0);
  } catch (const std::exception& error) {
    failure_ = error.what();
  }
}

Exposer::~Exposer() = default;

}  // namespace lockstep::monitoring
