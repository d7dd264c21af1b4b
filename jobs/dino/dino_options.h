#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace lockstep::jobs {

/// How features are judged: the values are those of the recipe's keys under [evaluation].
struct DinoEvaluationOptions {
  uint64_t seed = 0;
  int64_t linear_epochs = 100;
  int64_t linear_batch_size = 1024;
  double linear_learning_rate = 0.001;  // of a batch of 256
  int64_t linear_blocks = 4;            // a transformer's last, whose class tokens are looked at
  bool linear_average_pool = false;     // and the mean of the last one's patches
  int64_t attention_size = 480;         // pixels of either side
  int64_t retrieval_size = 224;         // pixels of the longest side
  bool retrieval_multiscale = false;    // features averaged over three scales
  int64_t copy_size = 320;              // pixels of either side
  int64_t video_size = 480;             // pixels of the short side
};

/// Backbone, head, teacher: the values are those of the recipe's keys.
struct DinoOptions {
  std::string model;
  int64_t patch_size = 0;  // of a transformer
  double drop_path = 0.0;  // of the student's last block; rises linearly from 0; a transformer's
  int64_t shard_pictures = 1;

  int64_t out_dim = 65536;  // K, the prototypes
  int64_t hidden_dim = 2048;
  int64_t bottleneck_dim = 256;
  bool norm_last_layer = true;  // the last layer's rows keep the norm 1
  int64_t freeze_epochs = 1;    // of the last layer
  bool batch_norm = false;      // after the first two layers

  double teacher_momentum = 0.996;  // rises to 1 by a cosine
  double teacher_temperature = 0.04;
  double warmup_teacher_temperature = 0.04;
  int64_t teacher_warmup_epochs = 0;

  DinoEvaluationOptions evaluation;

  bool is_vit() const { return patch_size > 0; }
  /// Whether there are batch norms; they are over the pictures of all ranks (main_dino.py).
  bool has_batch_norms() const { return !is_vit() || batch_norm; }
};

/// Values that the official code has no flags for (main_dino.py, DINOLoss).
constexpr double kStudentTemperature = 0.1;
constexpr double kCenterMomentum = 0.9;

/// How the pictures of one recipe become crops.
struct MultiCropOptions {
  uint64_t seed = 0;
  bool fast_decode = false;   // not to the bit
  int64_t global_size = 224;  // pixels a side; there are two
  std::array<double, 2> global_scale{0.4, 1.0};
  int64_t local_size = 96;
  std::array<double, 2> local_scale{0.05, 0.4};
  int64_t local_count = 8;
  int64_t evaluation_resize = 256;  // the short side
  int64_t evaluation_crop = 224;    // the centre of it
};

}  // namespace lockstep::jobs
