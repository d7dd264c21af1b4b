#include "runner/checkpoints/checkpoint_store.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "comm/error.h"
#include "runner/files.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kAside = ".being-written";
constexpr int kFormat = 1;

std::optional<int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  constexpr std::string_view prefix = "step-";
  if (!name.starts_with(prefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, step);
  return error == std::errc() && stop == end ? std::optional(step) : std::nullopt;
}

nlohmann::ordered_json to_json(const Manifest& manifest) {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (const auto& [name, file] : manifest.files) {
    files[name] = {{"bytes", file.bytes}, {"xxh3", file.xxh3}};
  }
  nlohmann::ordered_json json{{"format", kFormat},
                              {"step", manifest.progress.step},
                              {"samples", manifest.progress.samples},
                              {"seconds", manifest.progress.seconds},
                              {"files", files},
                              {"recipe", manifest.recipe}};
  for (const auto& [name, value] : manifest.evaluation) {
    if (std::isfinite(value)) json["evaluation"][name] = value;
  }
  // The manifest vouches for itself too.
  const std::string text = json.dump();
  json["xxh3"] = fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
  return json;
}

[[noreturn]] void damaged(const fs::path& file, const std::string& why) {
  throw CheckpointError("E302",
                        fmt::format("the checkpoint file '{}' is damaged: {}", file.string(), why));
}

// Its name last, so that a half-removed one is none.
void remove_checkpoint(const fs::path& folder) {
  std::error_code code;
  fs::remove(folder / kManifest, code);
  fs::remove_all(folder, code);
}

}  // namespace

fs::path CheckpointStore::path(int64_t step) const {
  return folder_ / fmt::format("step-{:08d}", step);
}

std::vector<int64_t> CheckpointStore::steps() const {
  std::vector<int64_t> steps;
  std::error_code code;
  for (fs::directory_iterator entry(folder_, code), end; !code && entry != end;
       entry.increment(code)) {
    const std::optional<int64_t> step = step_of(entry->path());
    std::error_code unseen;
    if (step && fs::exists(entry->path() / kManifest, unseen)) steps.push_back(*step);
  }
  std::ranges::sort(steps);
  return steps;
}

void CheckpointStore::probe(int64_t bytes, const Retention& keep, const Report& report) const {
  make_folders(folder_);
  try_folder(folder_, "can be written, named and read");
  std::error_code code;
  const fs::space_info space = fs::space(folder_, code);
  if (code) return;
  const auto available = static_cast<int64_t>(space.available);
  const int64_t more = std::max<int64_t>(1, keep.newest + 1 - std::ssize(steps()));
  if (available >= bytes && available < more * bytes) {
    report(
        fmt::format("'{}' has room for {} MB, but {} more checkpoints of {} MB are to come: "
                    "checkpoint.keep={} and the one being written",
                    folder_.string(), available / 1000000, more, bytes / 1000000, keep.newest));
  }
  if (available < bytes) {
    throw WriteError("E502",
                     fmt::format("'{}' has room for {} MB, but a checkpoint takes {} MB",
                                 folder_.string(), available / 1000000, bytes / 1000000),
                     "free some space, or name a run folder elsewhere");
  }
}

void CheckpointStore::save(Manifest manifest, const Retention& keep,
                           const std::function<Manifest::Files(const fs::path&)>& write) const {
  const fs::path aside = folder_ / kAside;
  std::error_code code;
  fs::remove_all(aside, code);
  make_folders(aside);
  manifest.files = write(aside);
  read_back(aside, manifest.files);
  read_back(aside, {{kManifest, write_file(aside / kManifest, to_json(manifest).dump(1))}});
  sync_folder(aside);

  const fs::path name = path(manifest.progress.step);
  remove_checkpoint(name);  // the same step again, from before a resume
  fs::rename(aside, name, code);
  if (code) {
    throw WriteError(
        "E501", fmt::format("cannot name the checkpoint '{}': {}", name.string(), code.message()));
  }
  sync_folder(folder_);
  replace_file(folder_ / "LATEST", name.filename().string() + "\n");
  retire(manifest.progress.step, keep);
}

void CheckpointStore::read_back(const fs::path& aside, const Manifest::Files& meant) const {
  for (const auto& [name, digest] : meant) {
    try {
      if (digest_of(aside / name) == digest) continue;
    } catch (const fs::filesystem_error& error) {
      fail_to("read back", aside / name, error.code().value());
    }
    throw WriteError("E501",
                     fmt::format("'{}' does not hold what was written", (aside / name).string()),
                     "look at the storage: it says that it wrote, and did not");
  }
}

void CheckpointStore::retire(int64_t saved, const Retention& keep) const {
  std::vector<int64_t> all = steps();
  while (!all.empty() && all.back() > saved) {
    remove_checkpoint(path(all.back()));
    all.pop_back();
  }
  const auto older = std::max<int64_t>(0, static_cast<int64_t>(all.size()) - keep.newest);
  const std::optional<int64_t> best = best_step(keep.best);
  for (const int64_t step : std::span(all).first(static_cast<size_t>(older))) {
    if (step == best || (keep.every > 0 && step % keep.every == 0)) continue;
    remove_checkpoint(path(step));
  }
}

// Less is better of a loss, more of all else; the later of two that are equal.
std::optional<int64_t> CheckpointStore::best_step(const std::string& measure) const {
  if (measure.empty()) return std::nullopt;
  const double sign = measure.ends_with("loss") ? -1.0 : 1.0;
  std::optional<std::pair<double, int64_t>> best;
  for (const int64_t step : steps()) {
    try {
      const Manifest manifest = read_manifest(path(step));
      const auto found = manifest.evaluation.find(measure);
      if (found == manifest.evaluation.end()) continue;
      best = std::max(best, std::optional(std::pair(sign * found->second, step)));
    } catch (const CheckpointError&) {
      // Says nothing of itself.
    }
  }
  return best ? std::optional(best->second) : std::nullopt;
}

SoundCheckpoint CheckpointStore::newest_sound(const Report& report) const {
  if (const auto found = newest_sound_since(0, report)) return *found;
  const size_t count = steps().size();
  if (count == 0) {
    throw CheckpointError("E301", fmt::format("there is no checkpoint in '{}'", folder_.string()),
                          "start again with `lockstep train`");
  }
  throw CheckpointError(
      "E302", fmt::format("none of the {} checkpoints in '{}' is sound", count, folder_.string()),
      "restore one from a backup, or start again with `lockstep train`");
}

std::optional<SoundCheckpoint> CheckpointStore::newest_sound_since(int64_t least_step,
                                                                   const Report& report) const {
  const std::vector<int64_t> all = steps();
  for (auto step = all.rbegin(); step != all.rend() && *step >= least_step; ++step) {
    try {
      return SoundCheckpoint{path(*step), verify_checkpoint(path(*step))};
    } catch (const CheckpointError& error) {
      report(error.what());
    }
  }
  return std::nullopt;
}

Manifest read_manifest(const fs::path& checkpoint) {
  const fs::path file = checkpoint / kManifest;
  std::error_code code;
  if (!fs::exists(file, code)) {
    throw CheckpointError("E301", fmt::format("'{}' is not a checkpoint: it has no manifest.json",
                                              checkpoint.string()));
  }
  try {
    auto json = nlohmann::ordered_json::parse(read_text(file));
    const auto hash = json.at("xxh3").get<std::string>();
    json.erase("xxh3");
    const std::string text = json.dump();
    if (hash != fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()))) {
      damaged(file, "its contents do not have its hash");
    }
    if (json.at("format").get<int>() != kFormat) damaged(file, "it has an unknown format");
    Manifest manifest;
    manifest.progress = {.step = json.at("step").get<int64_t>(),
                         .samples = json.at("samples").get<int64_t>(),
                         .seconds = json.at("seconds").get<double>()};
    manifest.recipe = json.at("recipe");
    manifest.evaluation = json.value("evaluation", std::map<std::string, double>());
    for (const auto& [name, entry] : json.at("files").items()) {
      manifest.files[name] = {.bytes = entry.at("bytes").get<int64_t>(),
                              .xxh3 = entry.at("xxh3").get<std::string>()};
    }
    return manifest;
  } catch (const nlohmann::json::exception&) {
    damaged(file, "it is not the JSON of a manifest");
  } catch (const fs::filesystem_error& error) {
    damaged(file, error.code().message());
  }
}

Manifest verify_checkpoint(const fs::path& checkpoint) {
  Manifest manifest = read_manifest(checkpoint);
  for (const auto& [name, wanted] : manifest.files) {
    const fs::path file = checkpoint / name;
    std::error_code code;
    const auto bytes = static_cast<int64_t>(fs::file_size(file, code));
    if (code) damaged(file, code.message());
    if (bytes != wanted.bytes) {
      damaged(file, fmt::format("it has {} bytes of {}", bytes, wanted.bytes));
    }
    try {
      if (digest_of(file).xxh3 != wanted.xxh3) damaged(file, "its contents do not have its hash");
    } catch (const fs::filesystem_error& error) {
      damaged(file, error.code().message());
    }
  }
  return manifest;
}

}  // namespace lockstep::runner
