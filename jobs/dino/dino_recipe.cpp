#include "jobs/dino/dino_recipe.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <utility>

#include "jobs/dino/multi_crop.h"
#include "jobs/models/resnet_shapes.h"
#include "jobs/models/vit_shapes.h"

namespace lockstep::jobs {
namespace {

int64_t side(Settings& settings, std::string_view key, int64_t otherwise, int64_t patch_size,
             double least = 8) {
  const int64_t size = settings.integer(key, otherwise, {least, 1024});
  if (patch_size > 0 && size % patch_size != 0) {
    settings.refuse(
        key, fmt::format("a side of {} pixels cannot be cut into patches of {}", size, patch_size),
        fmt::format("use a multiple of model.patch_size, as {}",
                    (size / patch_size + 1) * patch_size));
  }
  return size;
}

// The official linear protocol looks at four blocks of small models, at one and its patches of
// large ones.
void read_vit_evaluation(Settings& settings, const DinoOptions& model,
                         DinoEvaluationOptions& options) {
  const bool large = model.model == "vit_base";
  options.linear_blocks = settings.integer("evaluation.linear_blocks", large ? 1 : 4, {1, 12});
  options.linear_average_pool = settings.flag("evaluation.linear_average_pool", large);
  if (options.linear_average_pool && options.linear_blocks > 1) {
    settings.refuse("evaluation.linear_average_pool",
                    "patches are averaged with one block's token alone",
                    "set evaluation.linear_blocks = 1");
  }
  options.attention_size = side(settings, "evaluation.attention_size", 480, model.patch_size);
  options.video_size = side(settings, "evaluation.video_size", 480, model.patch_size, /*least=*/64);
}

DinoEvaluationOptions read_evaluation(const JobInputs& inputs, Settings& settings,
                                      const DinoOptions& model) {
  DinoEvaluationOptions options;
  options.seed = inputs.seed;
  options.linear_epochs = settings.integer("evaluation.linear_epochs", 100, {1, 1e6});
  options.linear_batch_size = settings.integer("evaluation.linear_batch_size", 1024, {1, 1e6});
  options.linear_learning_rate =
      settings.number("evaluation.linear_learning_rate", 0.001, {0.0, 1e3});
  options.retrieval_size = settings.integer("evaluation.retrieval_size", 224, {32, 4096});
  options.retrieval_multiscale = settings.flag("evaluation.retrieval_multiscale", false);
  options.copy_size = side(settings, "evaluation.copy_size", 320, model.patch_size);
  if (model.is_vit()) read_vit_evaluation(settings, model, options);
  return options;
}

// A ResNet has neither patches nor, in the official code, branches that are dropped.
void read_vit(Settings& settings, DinoOptions& options) {
  options.patch_size = settings.integer("model.patch_size", 16, {8, 16});
  if (options.patch_size != 8 && options.patch_size != 16) {
    settings.refuse("model.patch_size",
                    fmt::format("there is no model with patches of {} pixels", options.patch_size),
                    "8 or 16");
  }
  options.drop_path = settings.number("model.drop_path", 0.1, {0.0, 0.99});
}

DinoOptions read_options(const JobInputs& inputs, Settings& settings) {
  DinoOptions options;
  options.shard_pictures = inputs.shard_batch_size;
  std::vector<std::string> names = vit_names();
  for (const std::string& name : resnet_names()) names.push_back(name);
  options.model = settings.text("model.name", "vit_small", names);
  if (options.model.starts_with("vit_")) read_vit(settings, options);

  options.out_dim = settings.integer("head.out_dim", 65536, {1, 1e7});
  options.hidden_dim = settings.integer("head.hidden_dim", 2048, {1, 1e6});
  options.bottleneck_dim = settings.integer("head.bottleneck_dim", 256, {1, 1e6});
  options.norm_last_layer = settings.flag("head.norm_last_layer", true);
  options.freeze_epochs = settings.integer("head.freeze_epochs", 1, {0, 1e6});
  options.batch_norm = settings.flag("head.batch_norm", false);

  constexpr double kCold = 1e-3;  // below, the softmax overflows into one-hot targets
  options.teacher_momentum = settings.number("teacher.momentum", 0.996, {0.0, 1.0});
  options.teacher_temperature = settings.number("teacher.temperature", 0.04, {kCold, 10.0});
  options.warmup_teacher_temperature =
      settings.number("teacher.warmup_temperature", options.teacher_temperature, {kCold, 10.0});
  options.teacher_warmup_epochs = settings.integer("teacher.warmup_epochs", 0, {0, 1e6});
  options.evaluation = read_evaluation(inputs, settings, options);
  return options;
}

MultiCropOptions read_crops(const JobInputs& inputs, int64_t patch_size, Settings& settings) {
  constexpr Range kScales{1e-4, 1.0};
  MultiCropOptions crops;
  crops.seed = inputs.seed;
  crops.fast_decode = inputs.fast_decode;
  crops.global_size = side(settings, "crops.global_size", 224, patch_size);
  crops.global_scale = ascending_pair(settings, "crops.global_scale", crops.global_scale, kScales);
  crops.local_count = settings.integer("crops.local_count", 8, {0, 100});
  crops.local_size = side(settings, "crops.local_size", 96, patch_size);
  crops.local_scale = ascending_pair(settings, "crops.local_scale", crops.local_scale, kScales);
  crops.evaluation_crop = side(settings, "evaluation.crop", crops.global_size, patch_size);
  crops.evaluation_resize =
      settings.integer("evaluation.resize", crops.evaluation_crop * 8 / 7, {8, 2048});
  if (crops.evaluation_resize < crops.evaluation_crop) {
    settings.refuse(
        "evaluation.resize",
        fmt::format("a short side of {} pixels is less than the {} that are cut out of it",
                    crops.evaluation_resize, crops.evaluation_crop),
        "raise evaluation.resize, or lower evaluation.crop");
  }
  return crops;
}

void add(std::vector<NamedShape>& all, const std::string& prefix, std::vector<NamedShape> more) {
  for (NamedShape& entry : more) all.push_back({prefix + entry.name, std::move(entry.shape)});
}

// The last layer is torch's weight_norm: a norm and a direction for each row. With batch norms the
// products are further apart (vision_transformer.py, DINOHead).
std::vector<NamedShape> head_parameters(const DinoOptions& o, int64_t inputs) {
  std::vector<NamedShape> all;
  const auto affine = [&all](int index, std::vector<int64_t> shape) {
    const int64_t outputs = shape.front();
    all.push_back({fmt::format("mlp.{}.weight", index), std::move(shape)});
    all.push_back({fmt::format("mlp.{}.bias", index), {outputs}});
  };
  affine(0, {o.hidden_dim, inputs});
  if (o.batch_norm) affine(1, {o.hidden_dim});
  affine(o.batch_norm ? 3 : 2, {o.hidden_dim, o.hidden_dim});
  if (o.batch_norm) affine(4, {o.hidden_dim});
  affine(o.batch_norm ? 6 : 4, {o.bottleneck_dim, o.hidden_dim});
  all.push_back({"last_layer.weight_g", {o.out_dim, 1}});
  all.push_back({"last_layer.weight_v", {o.out_dim, o.bottleneck_dim}});
  return all;
}

}  // namespace

DinoRecipe::DinoRecipe(DinoOptions options, MultiCropOptions crops)
    : options_(std::move(options)), crops_(crops) {}

std::vector<NamedShape> DinoRecipe::parameters() const {
  const DinoOptions& o = options_;
  std::vector<NamedShape> all;
  add(all, "backbone.",
      o.is_vit() ? vit_parameters(vit_shape(o.model, o.patch_size))
                 : resnet_parameters(resnet_shape(o.model, 0)));
  add(all, "head.", head_parameters(o, feature_dim()));
  return all;
}

std::vector<NamedShape> DinoRecipe::buffers() const {
  std::vector<NamedShape> all{{"center", {1, options_.out_dim}}};
  if (!options_.is_vit()) add(all, "backbone.", resnet_buffers(resnet_shape(options_.model, 0)));
  if (!options_.batch_norm) return all;
  for (const char* norm : {"head.mlp.1.", "head.mlp.4."}) {
    add(all, norm,
        {{"running_mean", {options_.hidden_dim}}, {"running_var", {options_.hidden_dim}}});
  }
  return all;
}

int64_t DinoRecipe::feature_dim() const {
  return options_.is_vit() ? vit_shape(options_.model, options_.patch_size).dim
                           : jobs::feature_dim(resnet_shape(options_.model, 0));
}

Architecture DinoRecipe::architecture() const {
  const std::string vit =
      fmt::format("{}_patch{}_{}", options_.model, options_.patch_size, VitShape{}.reference_size);
  return {.name = options_.is_vit() ? vit : options_.model,
          .prefix = "backbone.",
          .classes = 0,
          .evaluation_size = crops_.evaluation_crop,
          .evaluation_crop = static_cast<double>(crops_.evaluation_crop) /
                             static_cast<double>(crops_.evaluation_resize),
          .interpolation = "bicubic",
          .formats = {"timm", "dino", "safetensors"}};
}

std::unique_ptr<BatchMaker> DinoRecipe::training_batches(PictureForm pictures) const {
  return make_multi_crop(crops_, pictures);
}
std::unique_ptr<BatchMaker> DinoRecipe::evaluation_batches() const {
  return make_dino_evaluation_batches(crops_);
}

std::vector<EvaluationTask> DinoRecipe::evaluation_tasks() const {
  using enum EvaluationTask::Pictures;
  std::vector<EvaluationTask> tasks{{.name = "knn"},
                                    {.name = "linear"},
                                    {.name = "retrieval", .pictures = given},
                                    {.name = "copy_detection", .pictures = given}};
  if (!options_.is_vit()) return tasks;
  tasks.push_back({.name = "video", .pictures = given});
  tasks.push_back({.name = "attention", .pictures = given, .draws = true});
  return tasks;
}

std::vector<Schedule> DinoRecipe::schedules(const Timeline& timeline) const {
  return {{"teacher_momentum",
           [o = options_, timeline](int64_t step) { return teacher_momentum(o, timeline, step); }},
          {"teacher_temperature", [o = options_, timeline](int64_t step) {
             return teacher_temperature(o, timeline, step);
           }}};
}

// main_dino.py's defaults, for 8 GPUs.
JobTraits dino_traits() {
  return {.name = "dino",
          .needs_labels = false,
          .device_augments = true,
          .defaults = {.batch_size = 512,
                       .optimizer = "adamw",
                       .learning_rate = 5e-4,
                       .learning_rate_at = 256,
                       .weight_decay = 0.04,
                       .weight_decay_end = 0.4,
                       .clip_gradient = 3.0,
                       .clip_scope = "parameter",
                       .warmup_epochs = 10,
                       .warmup_learning_rate = 0.0,
                       .min_learning_rate = 1e-6,
                       .per_update = true,
                       .cosine = "after_warmup"}};
}

std::unique_ptr<JobRecipe> read_dino(const JobInputs& inputs, Settings& settings) {
  const DinoOptions options = read_options(inputs, settings);
  return std::make_unique<DinoRecipe>(options, read_crops(inputs, options.patch_size, settings));
}

double teacher_momentum(const DinoOptions& options, const Timeline& timeline, int64_t step) {
  const double turn =
      std::numbers::pi * static_cast<double>(step) / static_cast<double>(timeline.steps());
  return 1.0 + 0.5 * (options.teacher_momentum - 1.0) * (1.0 + std::cos(turn));
}

double teacher_temperature(const DinoOptions& options, const Timeline& timeline, int64_t step) {
  const int64_t epoch = step / timeline.steps_per_epoch;
  if (epoch >= options.teacher_warmup_epochs) return options.teacher_temperature;
  const int64_t pieces = std::max<int64_t>(1, options.teacher_warmup_epochs - 1);
  return options.warmup_teacher_temperature +
         static_cast<double>(epoch) *
             ((options.teacher_temperature - options.warmup_teacher_temperature) /
              static_cast<double>(pieces));
}

}  // namespace lockstep::jobs
