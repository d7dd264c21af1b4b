#include "runner/liveness/postmortem.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "runner/files.h"
#include "runner/liveness/heartbeat.h"
#include "runner/run_description.h"
#include "runner/utc.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Readers see it whole; that it survives a power cut is not worth a sync every few seconds.
void put(const fs::path& file, const std::string& text) {
  const fs::path aside = file.string() + ".tmp";
  std::error_code code;
  if (std::FILE* out = std::fopen(aside.c_str(), "we")) {
    const bool whole = std::fwrite(text.data(), 1, text.size(), out) == text.size();
    if (std::fclose(out) == 0 && whole) fs::rename(aside, file, code);
  }
}

void put(const fs::path& file, const Json& json) { put(file, json.dump(1) + "\n"); }

}  // namespace

Postmortem::Postmortem(const RunDirectory& run, const std::string& launch, const std::string& host)
    : live_(run.live()), folder_(run.postmortem() / launch), launch_(launch), host_(host) {
  std::error_code code;
  fs::create_directories(live_, code);
}

Postmortem::~Postmortem() {
  std::error_code code;
  fs::remove(live_ / (host_ + ".json"), code);
}

void Postmortem::beat(const std::vector<RankView>& ranks) {
  Json json{{"launch", launch_}, {"host", host_}, {"beat", ++beats_}, {"time", utc_now()}};
  for (const RankView& view : ranks) json["ranks"].push_back(to_json(view));
  put(live_ / (host_ + ".json"), json);
}

std::vector<RankView> Postmortem::other_nodes() {
  std::vector<RankView> views;
  std::error_code code;
  for (fs::directory_iterator file(live_, code), end; !code && file != end; file.increment(code)) {
    const fs::path& path = file->path();
    if (path.extension() != ".json" || path.stem() == host_) continue;
    const std::string text = text_or_nothing(path);
    Heard& heard = heard_.try_emplace(path, Heard{text, monotonic_seconds()}).first->second;
    if (heard.text != text) heard = {text, monotonic_seconds()};
    const double silence = monotonic_seconds() - heard.at_seconds;
    const Heartbeat heartbeat = parse_heartbeat(text);
    if (heartbeat.launch != launch_) continue;
    for (RankView view : heartbeat.ranks) {
      view.seconds += silence;
      if (silence > kSilentSeconds)
        view.state = fmt::format("its host silent for {:.0f} s", silence);
      views.push_back(std::move(view));
    }
  }
  return views;
}

bool Postmortem::find() {
  std::error_code code;
  fs::create_directories(folder_, code);
  const fs::path file = folder_ / "found";
  const Descriptor made(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  return made.number() >= 0 || errno != EEXIST;
}

bool Postmortem::is_found() const {
  std::error_code code;
  return fs::exists(folder_ / "found", code);
}

std::string Postmortem::said() const {
  return read_object(folder_ / "report.json").value("kind", "");
}

void Postmortem::leave(const std::vector<RankReport>& ranks) {
  Json json{{"host", host_}, {"time", utc_now()}};
  for (const RankReport& report : ranks) {
    Json rank = to_json(report.view);
    Json& record = rank["record"] = Json::array();
    for (const RankBlock::Entry& entry : report.record) {
      record.push_back(
          {{"step", entry.step}, {"phase", name_of(entry.phase)}, {"at", entry.at_seconds}});
    }
    rank["stacks"] = report.stacks;
    json["ranks"].push_back(std::move(rank));
  }
  put(folder_ / (host_ + ".json"), json);
}

bool Postmortem::all_have_left() {
  return std::ranges::all_of(other_nodes(), [this](const RankView& view) {
    std::error_code code;
    return view.state.starts_with("its host") || fs::exists(folder_ / (view.host + ".json"), code);
  });
}

void Postmortem::say(const std::string& kind, const Diagnosis& diagnosis,
                     const std::vector<RankView>& ranks) {
  Json json{{"kind", kind},
            {"launch", launch_},
            {"time", utc_now()},
            {"suspects", diagnosis.suspects},
            {"text", diagnosis.text}};
  for (const RankView& view : ranks) {
    Json rank = to_json(view);
    rank["collateral"] = std::ranges::count(diagnosis.suspects, view.rank) == 0;
    json["ranks"].push_back(std::move(rank));
  }
  // For scripts that start the run again elsewhere (deploy/run.sh).
  std::string hosts;
  for (const RankView& view : ranks) {
    const bool suspect = std::ranges::count(diagnosis.suspects, view.rank) > 0;
    if (suspect && hosts.find(view.host + "\n") == std::string::npos) hosts += view.host + "\n";
  }
  put(folder_ / "suspect_hosts", hosts);
  put(folder_ / "report.json", json);
  report_ = std::move(json);
}

void Postmortem::speak() const {
  const Json report = report_.is_object() ? report_ : read_object(folder_ / "report.json");
  if (report.empty()) return;
  const std::string id = report.value("kind", "") == "hang" ? "E801" : "E802";
  std::string text = report.value("text", "");
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 3) {
    text.replace(at, 1, "\n  ");
  }
  std::fprintf(stderr, "error[%s]: %s\nhelp: records and stacks of all ranks: %s\n", id.c_str(),
               text.c_str(), folder_.c_str());
}

}  // namespace lockstep::runner
