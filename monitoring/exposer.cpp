#include "monitoring/exposer.h"

#include <prometheus/exposer.h>
#include <prometheus/registry.h>

#include <exception>

namespace lockstep::monitoring {

Exposer::Exposer(const std::string& address, int port,
                 const std::shared_ptr<prometheus::Registry>& registry) {
  try {
    server_ = std::make_unique<prometheus::Exposer>(address + ":" + std::to_string(port),
                                                    /*num_threads=*/2);
    server_->RegisterCollectable(registry);
    port_ = server_->GetListeningPorts().at(0);
  } catch (const std::exception& error) {
    failure_ = error.what();
  }
}

Exposer::~Exposer() = default;

}  // namespace lockstep::monitoring
