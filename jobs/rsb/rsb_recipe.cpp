#include "jobs/rsb/rsb_recipe.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "jobs/pixels/rand_augment.h"
#include "jobs/rsb/rsb_batches.h"

namespace lockstep::jobs {
namespace {

std::vector<std::string> model_names() {
  std::vector<std::string> names = resnet_names();
  for (const std::string& name : timm_vit_names()) names.push_back(name);
  return names;
}

RsbOptions read_model_and_loss(const JobInputs& inputs, Settings& settings) {
  RsbOptions options;
  options.model = settings.text("model.name", "resnet50", model_names());
  options.classes = settings.integer("model.classes", 0, {0, 1e6});
  if (options.classes == 0) options.classes = inputs.data_classes;
  if (options.classes == 0) {
    settings.refuse("model.classes", "without data the number of classes is not known",
                    "add --set model.classes=N");
  }
  if (options.classes < inputs.data_classes) {
    settings.refuse(
        "model.classes",
        fmt::format("the data has {} classes, the model {}", inputs.data_classes, options.classes),
        "leave the key out to take the data's number");
  }
  options.drop_path = settings.number("model.drop_path", 0.0, {0.0, 0.99});
  options.loss = settings.text("loss.name", "bce", {"bce", "cross_entropy"});
  options.target_threshold = settings.number("loss.target_threshold", -1.0, {-1.0, 1.0});
  options.smoothing = settings.number("loss.smoothing", 0.0, {0.0, 0.99});
  if (options.target_threshold >= 0.0 && options.loss != "bce") {
    settings.refuse("loss.target_threshold", "only the loss 'bce' has a threshold",
                    "take the key out, or loss.name = \"bce\"");
  }
  const double off = options.smoothing / static_cast<double>(options.classes);
  if (options.target_threshold >= 0.0 && options.smoothing > 0.0 &&
      options.target_threshold < off) {
    settings.refuse(
        "loss.target_threshold",
        fmt::format("smoothing lifts every target to {:g}, above the threshold {:g}: all "
                    "targets would become 1",
                    off, options.target_threshold),
        "use smoothing without a threshold, or a threshold without smoothing");
  }
  options.average_decay = settings.number("average.decay", 0.0, {0.0, 1.0});
  return options;
}

RsbBatchOptions read_augmentation(const JobInputs& inputs, int64_t classes, Settings& settings) {
  RsbBatchOptions batches;
  batches.seed = inputs.seed;
  batches.fast_decode = inputs.fast_decode;
  batches.classes = classes;
  batches.size = settings.integer("augmentation.size", 224, {32, 1024});
  batches.evaluation_size = settings.integer("augmentation.eval_size", batches.size, {32, 1024});
  batches.evaluation_crop = settings.number("augmentation.eval_crop", 0.95, {0.1, 1.0});
  batches.scale = ascending_pair(settings, "augmentation.scale", batches.scale, {1e-4, 1.0});
  batches.ratio = ascending_pair(settings, "augmentation.ratio", batches.ratio, {0.01, 100.0});
  batches.flip = settings.number("augmentation.flip", 0.5, {0.0, 1.0});
  batches.interpolation =
      settings.text("augmentation.interpolation", "bicubic", {"bicubic", "bilinear", "random"});
  batches.rand_augment = settings.text("augmentation.rand_augment", "");
  try {
    if (!batches.rand_augment.empty()) pixels::RandAugment::parse(batches.rand_augment);
  } catch (const std::invalid_argument& error) {
    settings.refuse("augmentation.rand_augment", error.what(),
                    "as timm writes it, for example \"rand-m7-mstd0.5-inc1\"; \"\" for none");
  }
  batches.mixup = settings.number("augmentation.mixup", 0.0, {0.0, 100.0});
  batches.cutmix = settings.number("augmentation.cutmix", 0.0, {0.0, 100.0});
  if ((batches.mixup > 0.0 || batches.cutmix > 0.0) && inputs.shard_batch_size % 2 != 0) {
    settings.refuse(
        "batch.size",
        fmt::format("a shard has {} pictures, and mixup pairs them: the number must be even",
                    inputs.shard_batch_size),
        "change batch.size or batch.shards, or switch off augmentation.mixup and cutmix");
  }
  return batches;
}

// timm's transformer is made for one size, of whole patches.
void require_vit_sizes(const RsbBatchOptions& batches, Settings& settings) {
  if (batches.evaluation_size != batches.size) {
    settings.refuse(
        "augmentation.eval_size",
        fmt::format("the model's positions are those of {0} x {0} pixels, not {1} x {1}",
                    batches.size, batches.evaluation_size),
        "evaluate at the size of training: leave the key out");
  }
  if (batches.size % VitShape{}.patch_size != 0) {
    settings.refuse("augmentation.size",
                    fmt::format("{} pixels are not a whole number of patches of 16", batches.size),
                    "a multiple of 16");
  }
}

}  // namespace

RsbRecipe::RsbRecipe(RsbOptions options, RsbBatchOptions batches, int64_t repeats)
    : options_(std::move(options)), batches_(std::move(batches)), repeats_(repeats) {}

VitShape RsbRecipe::vit() const { return timm_vit_shape(options_.model, batches_.size); }

ResNetShape RsbRecipe::resnet() const { return resnet_shape(options_.model, options_.classes); }

std::vector<NamedShape> RsbRecipe::parameters() const {
  if (!options_.is_vit()) return resnet_parameters(resnet());
  std::vector<NamedShape> all = vit_parameters(vit());
  all.push_back({"head.weight", {options_.classes, vit().dim}});
  all.push_back({"head.bias", {options_.classes}});
  return all;
}

std::vector<NamedShape> RsbRecipe::buffers() const {
  return options_.is_vit() ? std::vector<NamedShape>{} : resnet_buffers(resnet());
}

Architecture RsbRecipe::architecture() const {
  return {.name = options_.model,
          .prefix = {},
          .classes = options_.classes,
          .one_size = options_.is_vit(),
          .evaluation_size = batches_.evaluation_size,
          .evaluation_crop = batches_.evaluation_crop,
          .interpolation = batches_.interpolation,
          .formats = options_.is_vit()
                         ? std::vector<std::string>{"timm", "safetensors"}
                         : std::vector<std::string>{"timm", "torchvision", "safetensors"}};
}

std::unique_ptr<BatchMaker> RsbRecipe::training_batches(PictureForm pictures) const {
  return make_rsb_training_batches(batches_, pictures.kind);
}

std::unique_ptr<BatchMaker> RsbRecipe::evaluation_batches() const {
  return make_rsb_evaluation_batches(batches_);
}

// timm's train.py with the procedure of "ResNet strikes back" where that has one value.
JobTraits rsb_traits() {
  return {.name = "rsb",
          .needs_labels = true,
          .defaults = {.batch_size = 2048,
                       .optimizer = "lamb",
                       .learning_rate = 5e-3,
                       .weight_decay = 0.02,
                       .weight_decay_end = {},
                       .warmup_epochs = 5,
                       .warmup_learning_rate = 1e-6,
                       .min_learning_rate = 1e-6,
                       .cosine = "whole"}};
}

std::unique_ptr<JobRecipe> read_rsb(const JobInputs& inputs, Settings& settings) {
  const RsbOptions options = read_model_and_loss(inputs, settings);
  const RsbBatchOptions batches = read_augmentation(inputs, options.classes, settings);
  if (options.is_vit()) require_vit_sizes(batches, settings);
  const int64_t repeats = settings.integer("augmentation.repeats", 1, {1, 100});
  return std::make_unique<RsbRecipe>(options, batches, repeats);
}

}  // namespace lockstep::jobs
