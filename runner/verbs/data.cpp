#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <thread>
#include <vector>

#include "comm/error.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/random.h"
#include "runner/data/pack.h"
#include "runner/files.h"
#include "runner/parallel.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string folder;
  int64_t training = 200;
  int64_t validation = 40;
  int side = 96;
  uint64_t seed = 0;
};

struct Picture {
  fs::path file;
  int64_t label;
};

constexpr int kQuality = 90;

std::vector<Picture> plan_pictures(const Options& options) {
  const std::vector<std::string> classes = pixels::drawn_classes();
  std::vector<Picture> pictures;
  for (const auto& [part, count] :
       {std::pair("train", options.training), std::pair("val", options.validation)}) {
    for (size_t label = 0; label < classes.size(); ++label) {
      const fs::path folder = fs::path(options.folder) / part / classes[label];
      make_folders(folder);
      for (int64_t i = 0; i < count; ++i) {
        pictures.push_back({folder / fmt::format("{:05d}.jpg", i), static_cast<int64_t>(label)});
      }
    }
  }
  return pictures;
}

void draw(const Options& options, const Picture& picture, size_t number) {
  jobs::Random random(options.seed, jobs::Purpose::pictures, 0, number);
  const std::vector<std::byte> bytes =
      pixels::encode_jpeg(pixels::draw_picture(picture.label, options.side, random), kQuality);
  std::ofstream stream(picture.file, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  if (!stream.flush()) {
    throw WriteError("E501", fmt::format("cannot write '{}'", picture.file.string()),
                     "check the free space");
  }
}

ExitCode make_data(const Options& options) {
  std::error_code code;
  if (fs::exists(options.folder, code) && !fs::is_empty(options.folder, code)) {
    throw UsageError("E110", fmt::format("the folder '{}' is not empty", options.folder),
                     "name an empty or absent one");
  }
  const std::vector<Picture> pictures = plan_pictures(options);
  for_each_in_parallel(pictures.size(), std::max(1u, std::thread::hardware_concurrency()),
                       [&](size_t number) { draw(options, pictures[number], number); });
  std::cerr << fmt::format("drew {} pictures of {} classes into {}\n", pictures.size(),
                           pixels::drawn_classes().size(), options.folder);
  return ExitCode::done;
}

struct Packing {
  std::string set, out;
  PackOptions options{.threads =
                          static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))};
};

ExitCode pack_data(const Packing& packing) {
  const Dataset set = Dataset::open(packing.set, Labels::optional);
  const PackResult result = pack(set, packing.out, packing.options);
  std::cerr << fmt::format(
      "packed {} pictures of {} classes into {}: {} shards written, {} found "
      "there and whole\n",
      set.size(), set.classes().size(), packing.out, result.written, result.found);
  return ExitCode::done;
}

void add_pack(CLI::App& data, Chosen& chosen) {
  auto packing = std::make_shared<Packing>();
  CLI::App* verb = data.add_subcommand(
      "pack", "write a set as tar shards with an index; goes on where it was interrupted");
  verb->add_option("SET", packing->set, "class folders, a list or other shards")->required();
  verb->add_option("OUT", packing->out, "the folder of the shards")->required();
  verb->add_option("--pictures", packing->options.pictures, "of a shard")
      ->type_name("N")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str();
  verb->add_option("--threads", packing->options.threads, "shards made at once [all cores]")
      ->type_name("N")
      ->check(CLI::Range(1, 256));
  verb->callback(
      [packing, &chosen] { chosen = [packing](World&) { return pack_data(*packing); }; });
}

}  // namespace

void add_data(CLI::App& app, Chosen& chosen) {
  CLI::App* data = app.add_subcommand("data", "make and pack data sets");
  data->require_subcommand(1);
  add_pack(*data, chosen);
  auto options = std::make_shared<Options>();
  CLI::App* verb =
      data->add_subcommand("make", "draw a class-folder set of JPEG files to try things with");
  verb->add_option("FOLDER", options->folder,
                   "empty or absent; gets train/<class>/ and val/<class>/")
      ->required();
  verb->add_option("--train", options->training, "training pictures of each class")
      ->type_name("N")
      ->check(CLI::Range(1, 1000000));
  verb->add_option("--validation", options->validation, "validation pictures of each class")
      ->type_name("N")
      ->check(CLI::Range(0, 1000000));
  verb->add_option("--side", options->side, "pixels")->type_name("N")->check(CLI::Range(8, 4096));
  verb->add_option("--seed", options->seed, "other pictures for each seed")->type_name("N");
  for (CLI::Option* option : verb->get_options()) option->capture_default_str();
  verb->callback(
      [options, &chosen] { chosen = [options](World&) { return make_data(*options); }; });
}

}  // namespace lockstep::runner
