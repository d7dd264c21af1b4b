#include "runner/key_names.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

namespace lockstep::runner {
namespace {

const char* const kContractKeys[] = {
    "job",
    "seed",
    "precision",
    "data.train",
    "data.val",
    "data.threads",
    "data.cache",
    "data.fast_decode",
    "data.max_bad",
    "batch.size",
    "batch.shards",
    "model.name",
    "model.classes",
    "model.drop_path",
    "model.patch_size",
    "augmentation.size",
    "augmentation.eval_size",
    "augmentation.eval_crop",
    "augmentation.scale",
    "augmentation.ratio",
    "augmentation.flip",
    "augmentation.interpolation",
    "augmentation.repeats",
    "augmentation.rand_augment",
    "augmentation.mixup",
    "augmentation.cutmix",
    "crops.global_size",
    "crops.global_scale",
    "crops.local_size",
    "crops.local_scale",
    "crops.local_count",
    "head.out_dim",
    "head.hidden_dim",
    "head.bottleneck_dim",
    "head.norm_last_layer",
    "head.freeze_epochs",
    "head.batch_norm",
    "teacher.momentum",
    "teacher.temperature",
    "teacher.warmup_temperature",
    "teacher.warmup_epochs",
    "loss.name",
    "loss.target_threshold",
    "loss.smoothing",
    "optimizer.name",
    "optimizer.learning_rate",
    "optimizer.learning_rate_at",
    "optimizer.weight_decay",
    "optimizer.weight_decay_end",
    "optimizer.clip_gradient",
    "optimizer.clip_scope",
    "schedule.epochs",
    "schedule.warmup_epochs",
    "schedule.warmup_learning_rate",
    "schedule.min_learning_rate",
    "schedule.per_update",
    "schedule.cosine",
    "average.decay",
    "evaluation.every",
    "evaluation.resize",
    "evaluation.crop",
    "checkpoint.every",
    "checkpoint.memory_every",
    "checkpoint.keep",
    "log.every",
    "log.weights_hash",
    "init.weights",
    "monitoring.address",
    "monitoring.port",
    "monitoring.targets",
    "monitoring.text_file",
    "monitoring.linger",
};

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row.back();
}

}  // namespace

bool is_contract_key(std::string_view key) {
  return std::ranges::find(kContractKeys, key) != std::end(kContractKeys);
}

std::string nearest(std::string_view name, const std::vector<std::string>& names) {
  std::string best;
  size_t least = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : names) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

std::string_view leaf_of(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

}  // namespace lockstep::runner
