#include "runner/liveness/heartbeat.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runner/files.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

}  // namespace

NLOHMANN_JSON_SERIALIZE_ENUM(Phase, {{Phase::setup, "setup"},
                                     {Phase::data, "data"},
                                     {Phase::compute, "compute"},
                                     {Phase::sum, "sum"},
                                     {Phase::update, "update"},
                                     {Phase::checkpoint, "checkpoint"},
                                     {Phase::evaluation, "evaluation"},
                                     {Phase::ended, "ended"}})

Json to_json(const RankView& view) {
  return {{"rank", view.rank},
          {"host", view.host},
          {"process", view.process},
          {"step", view.step},
          {"phase", view.phase},
          {"seconds_in_phase", view.seconds},
          {"state", view.state},
          {"limit_seconds", view.limit_seconds},
          {"steps_timed", view.steps_timed},
          {"compute_seconds", view.compute_seconds},
          {"data_seconds", view.data_seconds},
          {"mean_compute_seconds", view.mean_compute_seconds},
          {"last_step",
           {{"seconds", view.last_step.step},
            {"data_wait_seconds", view.last_step.data_wait},
            {"compute_seconds", view.last_step.compute},
            {"sum_seconds", view.last_step.sum},
            {"update_seconds", view.last_step.update}}}};
}

namespace {

RankView rank_view_from(const Json& json) {
  const Json& last = json.at("last_step");
  return {.rank = json.at("rank"),
          .host = json.at("host"),
          .process = json.at("process"),
          .step = json.at("step"),
          .phase = json.at("phase").get<Phase>(),
          .seconds = json.at("seconds_in_phase"),
          .limit_seconds = json.at("limit_seconds"),
          .steps_timed = json.at("steps_timed"),
          .compute_seconds = json.at("compute_seconds"),
          .data_seconds = json.at("data_seconds"),
          .state = json.at("state"),
          .last_step = {.step = last.at("seconds"),
                        .data_wait = last.at("data_wait_seconds"),
                        .compute = last.at("compute_seconds"),
                        .sum = last.at("sum_seconds"),
                        .update = last.at("update_seconds")},
          .mean_compute_seconds = json.at("mean_compute_seconds")};
}

}  // namespace

Heartbeat parse_heartbeat(const std::string& text) {
  Heartbeat heartbeat;
  try {
    const Json json = Json::parse(text);
    for (const Json& rank : json.value("ranks", Json::array()))
      heartbeat.ranks.push_back(rank_view_from(rank));
    std::ranges::sort(heartbeat.ranks, {}, &RankView::rank);
    heartbeat.host = json.at("host");
    heartbeat.launch = json.at("launch");
  } catch (const nlohmann::json::exception&) {
    heartbeat.launch.clear();
  }
  return heartbeat;
}

std::vector<Heartbeat> read_heartbeats(const RunDirectory& run) {
  std::vector<Heartbeat> heartbeats;
  std::error_code code;
  for (fs::directory_iterator file(run.live(), code), end; !code && file != end;
       file.increment(code)) {
    if (file->path().extension() != ".json") continue;
    heartbeats.push_back(parse_heartbeat(text_or_nothing(file->path())));
    heartbeats.back().age_seconds = age_seconds(file->path());
  }
  // The name of a launch begins with its time.
  const auto newest = std::ranges::max_element(heartbeats, {}, &Heartbeat::launch);
  if (newest == heartbeats.end()) return {};
  const std::string launch = newest->launch;
  std::erase_if(heartbeats, [&](const Heartbeat& each) {
    return each.launch.empty() || each.launch != launch;
  });
  std::ranges::sort(heartbeats, {}, &Heartbeat::host);
  return heartbeats;
}

}  // namespace lockstep::runner
