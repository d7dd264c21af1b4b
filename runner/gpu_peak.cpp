#include "runner/gpu_peak.h"

namespace lockstep::runner {

double peak_operations_per_second(std::string_view model, jobs::Precision precision) {
  // The first that the name contains.
  constexpr struct {
    std::string_view part;
    double bf16, fp32;
  } kPeaks[] = {
      {"B200", 2250e12, 75e12},  {"H100 PCIe", 756e12, 51e12}, {"H100 NVL", 835e12, 60e12},
      {"H100", 989e12, 67e12},   {"H200", 989e12, 67e12},      {"A100", 312e12, 19.5e12},
      {"L40S", 362e12, 91.6e12}, {"A10G", 70e12, 35e12},       {"A10", 125e12, 31.2e12},
      {"L4", 121e12, 30.3e12},
  };
  for (const auto& peak : kPeaks) {
    if (model.find(peak.part) != std::string_view::npos)
      return precision == jobs::Precision::bf16 ? peak.bf16 : peak.fp32;
  }
  return 0.0;
}

}  // namespace lockstep::runner
