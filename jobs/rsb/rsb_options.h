#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace lockstep::jobs {

/// The model and the loss of one recipe; the values are those of the recipe's keys.
struct RsbOptions {
  std::string model;
  int64_t classes = 0;
  double drop_path = 0.0;          // of the last block; rises linearly from 0
  std::string loss = "bce";        // or "cross_entropy"
  double target_threshold = -1.0;  // bce: targets above become 1, others 0; negative: soft targets
  double smoothing = 0.0;
  double average_decay = 0.0;  // 0: no average

  bool is_vit() const { return model.starts_with("vit_"); }
};

/// How the pictures of one recipe become batches.
struct RsbBatchOptions {
  uint64_t seed = 0;
  bool fast_decode = false;  // not to the bit
  int64_t classes = 0;
  int64_t size = 224;  // pixels a side, in training
  std::array<double, 2> scale{0.08, 1.0};
  std::array<double, 2> ratio{3.0 / 4.0, 4.0 / 3.0};
  double flip = 0.5;
  std::string interpolation = "bicubic";  // or "bilinear", or "random": either for each picture
  std::string rand_augment;               // as timm writes it; empty: none
  double mixup = 0.0;                     // alpha; 0: off
  double cutmix = 0.0;                    // alpha; 0: off
  int64_t evaluation_size = 224;
  double evaluation_crop = 0.95;
};

}  // namespace lockstep::jobs
