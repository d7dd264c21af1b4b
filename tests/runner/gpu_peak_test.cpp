#include "runner/gpu_peak.h"

#include <gtest/gtest.h>

namespace lockstep::runner {
namespace {

TEST(PeakOperations, KnownGpus) {
  using jobs::Precision;
  EXPECT_EQ(peak_operations_per_second("NVIDIA H100 80GB HBM3", Precision::bf16), 989e12);
  EXPECT_EQ(peak_operations_per_second("NVIDIA H100 PCIe", Precision::bf16), 756e12);
  EXPECT_EQ(peak_operations_per_second("NVIDIA A100-SXM4-80GB", Precision::fp32), 19.5e12);
  EXPECT_EQ(peak_operations_per_second("NVIDIA L40S", Precision::bf16), 362e12);
  EXPECT_EQ(peak_operations_per_second("", Precision::bf16), 0.0);
}

}  // namespace
}  // namespace lockstep::runner
