#pragma once

#include "jobs/batch_maker.h"
#include "jobs/kernels/dino_loss_kernels.h"
#include "jobs/kernels/norm_kernels.h"

namespace lockstep::jobs {

enum class Precision { fp32, bf16 };

/// Faster ways to the same numbers but for their rounding.
struct FastPaths {
  bool fused_norms = false;   // a norm and what follows it in one pass (models/fused_norm.h)
  NormKernels norms;          // those of the device
  DinoLossKernels dino_loss;  // none on processors
  bool convolution_products = false;  // convolutions by products (models/convolution.h)
};

/// In what numbers and where a job computes.
struct Placement {
  Precision precision = Precision::fp32;
  int gpu = -1;  // index of the device; -1: the processor
  FastPaths fast;
  /// As which the training batches' pictures come.
  PictureForm pictures = Field::Kind::float32;
};

}  // namespace lockstep::jobs
