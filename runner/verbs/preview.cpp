#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>

#include "comm/error.h"
#include "jobs/pixels/crops.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/operations.h"
#include "jobs/pixels/resample.h"
#include "runner/contact_sheet.h"
#include "runner/files.h"
#include "runner/key_names.h"
#include "runner/loader.h"
#include "runner/run_plan.h"
#include "runner/source.h"
#include "runner/verbs/options.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

struct Options {
  std::string source, out, image, operation;
  int64_t step = 0;
  std::vector<std::string> overrides;
};

constexpr double kLargestBlur = 1000;

// --- One operation on one picture

std::vector<double> parse_values(const std::string& operation, const std::string& text) {
  std::vector<double> values;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    double value = 0.0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end) {
      throw UsageError("E104", fmt::format("--op {}: '{}' is not a number", operation, text), {});
    }
    values.push_back(value);
    begin = end + 1;
  }
  return values;
}

void require_values(const std::string& name, const std::vector<double>& values, size_t count,
                    const char* usage) {
  if (values.size() == count) return;
  throw UsageError("E104",
                   fmt::format("--op {} takes {} numbers, not {}", name, count, values.size()),
                   fmt::format("--op {}", usage));
}

pixels::Image resized_crop(const pixels::Image& source, const std::vector<double>& v) {
  require_values("ResizedCrop", v, 5, "ResizedCrop=top,left,height,width,size");
  const pixels::Box box{static_cast<int>(v[1]), static_cast<int>(v[0]), static_cast<int>(v[3]),
                        static_cast<int>(v[2])};
  if (box.left < 0 || box.top < 0 || box.width < 1 || box.height < 1 ||
      box.left + box.width > source.width || box.top + box.height > source.height || v[4] < 1) {
    throw UsageError(
        "E105",
        fmt::format("the crop lies outside the picture of {} x {}", source.width, source.height),
        "ResizedCrop=top,left,height,width,size");
  }
  const int size = static_cast<int>(v[4]);
  return pixels::resize(source, box, size, size, pixels::Filter::bicubic);
}

void require_between(const std::string& name, double value, double least, double most) {
  if (value >= least && value <= most) return;
  throw UsageError("E105", fmt::format("--op {}: {} is out of range", name, value),
                   fmt::format("{} to {}", least, most));
}

pixels::Image apply_text(const pixels::Image& source, const std::string& text) {
  const size_t equals = std::min(text.find('='), text.size());
  const std::string name = text.substr(0, equals);
  const std::vector<double> values =
      parse_values(name, equals < text.size() ? text.substr(equals + 1) : std::string());
  if (name == "ResizedCrop") return resized_crop(source, values);
  if (name == "EvaluationCrop") {
    require_values(name, values, 2, "EvaluationCrop=size,crop");
    return pixels::evaluation_crop(source, static_cast<int>(values[0]), values[1],
                                   pixels::Filter::bicubic);
  }
  if (name == "Thumbnail") {
    require_values(name, values, 1, "Thumbnail=size");
    require_between(name, values[0], 1, 65535);
    return pixels::thumbnail(source, static_cast<int>(values[0]));
  }
  std::vector<std::string> names = pixels::operation_names();
  if (std::ranges::find(names, name) == names.end()) {
    names.insert(names.end(), {"ResizedCrop", "EvaluationCrop", "Thumbnail"});
    const std::string near = nearest(name, names);
    throw UsageError("E105", fmt::format("there is no operation '{}'", name),
                     near.empty() ? fmt::format("one of: {}", fmt::join(names, ", "))
                                  : fmt::format("did you mean '{}'?", near));
  }
  const double value = values.empty() ? 0.0 : values[0];
  if (name == "GaussianBlur") require_between(name, value, 0, kLargestBlur);
  if (name == "Hue") require_between(name, value, -0.5, 0.5);
  return pixels::apply_operation(source, name, value, {});
}

ExitCode preview_operation(const Options& options) {
  std::vector<std::byte> file;
  try {
    file = read_bytes(options.image);
  } catch (const std::filesystem::filesystem_error& error) {
    throw DataError("E205", fmt::format("cannot read the picture '{}': {}", options.image,
                                        error.code().message()));
  }
  try {
    write_file(options.out,
               {pixels::encode_png(apply_text(pixels::decode(file), options.operation))});
  } catch (const pixels::ImageError& error) {
    throw DataError("E205",
                    fmt::format("cannot read the picture '{}': {}", options.image, error.what()));
  }
  return ExitCode::done;
}

ExitCode preview_recipe(const World& world, const Options& options) {
  const RunPlan plan = make_plan(read_source(options.source, options.overrides),
                                 {.defaults = launch_defaults(world)});
  const auto maker = plan.job->training_batches(jobs::Field::Kind::float32);
  const std::vector<jobs::Field> fields = maker->fields(plan.sampler.shard_batch_size());
  const ShardMemory memory(fields);
  load_shard({*plan.training_set, *maker, plan.most_unreadable()},
             plan.shard({.step = options.step, .shard = 0}), memory.arrays());
  write_file(options.out, {pixels::encode_png(contact_sheet(fields, memory.arrays()))});
  return ExitCode::done;
}

}  // namespace

void add_preview(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "preview",
      "draw what the model is shown: a sheet of a batch, or one operation on one picture");
  CLI::Option* source = verb->add_option("RECIPE", options->source, "a recipe or a run");
  verb->add_option("--step", options->step, "the batch of which step [0]")
      ->type_name("K")
      ->check(CLI::NonNegativeNumber);
  CLI::Option* image = verb->add_option("--image", options->image, "a picture instead of a recipe")
                           ->type_name("FILE")
                           ->excludes(source);
  verb->add_option(
          "--op", options->operation,
          "timm's name and the value that the operation takes, as Rotate=21, SolarizeAdd=77, "
          "AutoContrast; also GaussianBlur=radius, Grayscale, Hue=turns, "
          "ResizedCrop=top,left,height,width,size, EvaluationCrop=size,crop and Thumbnail=size")
      ->type_name("NAME[=VALUE]")
      ->needs(image);
  verb->add_option("--out", options->out, "the .png to write")->required()->type_name("FILE");
  add_overrides(*verb, options->overrides);
  verb->callback([options, &chosen] {
    if (options->source.empty() == options->image.empty() ||
        options->image.empty() != options->operation.empty()) {
      throw CLI::ValidationError("preview", "needs either RECIPE, or --image with --op");
    }
    chosen = [options](World& world) {
      return options->image.empty() ? preview_recipe(world, *options) : preview_operation(*options);
    };
  });
}

}  // namespace lockstep::runner
