#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "monitoring/progress.h"
#include "runner/run_status.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

using Json = nlohmann::ordered_json;
using monitoring::duration_text;

constexpr size_t kWidth = 80;          // columns of a terminal
constexpr size_t kMostRanks = 16;      // of which each has a line of its own
constexpr size_t kMostComplaints = 8;  // that are told
constexpr std::chrono::seconds kBetweenLooks{2};

struct Options {
  std::string run;
  bool json = false, watch = false;
};

// --- For programs

Json ranks_json(const RunStatus& status) {
  Json ranks = Json::array();
  const double median = median_compute_seconds(status.hosts);
  for (const Heartbeat& host : status.hosts) {
    for (const RankView& rank : host.ranks) {
      Json json = to_json(rank);
      json["heartbeat_age_seconds"] = host.age_seconds;
      json["complaint"] = complaint(rank, host, median);
      ranks.push_back(std::move(json));
    }
  }
  return ranks;
}

Json to_json(const RunStatus& status) {
  Json json{{"state", status.state},
            {"step", status.step},
            {"steps", status.steps},
            {"eta_seconds", status.over() ? Json() : Json(status.eta_seconds)},
            {"images_per_second", status.images_per_second},
            {"step_seconds", status.step_seconds},
            {"data_wait_ratio", status.data_wait_share},
            {"last_row", status.last_row},
            {"last_row_age_seconds", status.row_age_seconds},
            {"last_evaluation", status.last_evaluation},
            {"run", status.description},
            {"checkpoint", nullptr},
            {"ranks", ranks_json(status)},
            {"postmortem", nullptr}};
  if (const auto& saved = status.checkpoint) {
    json["checkpoint"] = {{"step", saved->step},
                          {"age_seconds", saved->age_seconds},
                          {"bytes", saved->bytes},
                          {"kept", saved->kept}};
  }
  if (const auto& found = status.postmortem)
    json["postmortem"] = {{"kind", found->kind}, {"text", found->text}, {"folder", found->folder}};
  return json;
}

// --- For people

// Cut to the room there is.
std::string fitted(const std::string& text, size_t room) {
  return text.size() <= room ? text : text.substr(0, room - 3) + "...";
}

std::string plural(int64_t count, const std::string& what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string line(const char* name, const std::string& text) {
  return fmt::format("  {:<11}{}\n", name, fitted(text, kWidth - 13));
}

std::string bar(double share) {
  constexpr size_t kCells = 30;
  const auto full = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * kCells);
  return "[" + std::string(full, '#') + std::string(kCells - full, '.') + "]";
}

std::string head(const RunStatus& status, const std::string& run) {
  const Json& d = status.description;
  std::string text = fmt::format("{} is {}\n", run, status.state);
  if (d.empty()) return text;
  text += fitted(fmt::format(
                     "{} {}, {} on {}, launch {}, begun {:%Y-%m-%d %H:%M} UTC", d.value("job", ""),
                     d.value("model", ""), plural(d.value("ranks", int64_t{1}), "rank"),
                     plural(d.value("nodes", int64_t{1}), "host"), d.value("launches", int64_t{1}),
                     fmt::gmtime(static_cast<std::time_t>(d.value("first_start", 0.0)))),
                 kWidth) +
          "\n";
  return text;
}

std::string progress(const RunStatus& status) {
  if (status.steps == 0) return {};
  const double share = static_cast<double>(status.step) / static_cast<double>(status.steps);
  const int64_t epochs_steps = status.description.value("steps_per_epoch", int64_t{0});
  std::string text =
      fmt::format("{} of {}  {} {:.1f} %", status.step, status.steps, bar(share), 100.0 * share);
  if (epochs_steps > 0)
    text += fmt::format("  epoch {}", std::max<int64_t>(0, status.step - 1) / epochs_steps);
  return line("step", text);
}

std::string speed(const RunStatus& status) {
  if (status.images_per_second == 0.0) return {};
  std::string text;
  if (!status.over())
    text += line("left", duration_text(status.eta_seconds) + " (evaluations not counted)");
  return text +
         line("speed",
              fmt::format("{:.1f} images/s, {:.3g} s a step, {:.0f} % of it waiting for data",
                          status.images_per_second, status.step_seconds,
                          100.0 * status.data_wait_share));
}

std::string number_of(const Json& row, const char* key, int digits) {
  return row.contains(key) && row[key].is_number()
             ? fmt::format("{:.{}g}", row[key].get<double>(), digits)
             : std::string("not finite");
}

std::string learning(const RunStatus& status) {
  if (status.last_row.is_null()) return {};
  const Json& row = status.last_row;
  std::string text =
      line("loss",
           fmt::format("{}, learning rate {}, gradient norm {} ({} ago)", number_of(row, "loss", 5),
                       number_of(row, "learning_rate", 3), number_of(row, "gradient_norm", 3),
                       duration_text(status.row_age_seconds)));
  if (status.last_evaluation.is_null()) return text;
  std::string measures;
  for (const auto& [key, value] : status.last_evaluation.items()) {
    const bool measure = key.starts_with("val_") || key.starts_with("average_val_");
    if (!measure || !value.is_number() || key.ends_with("samples")) continue;
    measures += fmt::format("{}{} {:.4g}", measures.empty() ? "" : ", ", key, value.get<double>());
  }
  return text + line("evaluation",
                     fmt::format("step {}: {}", status.last_evaluation.value("step", int64_t{0}),
                                 measures));
}

std::string checkpoints(const RunStatus& status) {
  if (!status.checkpoint) return line("checkpoint", "none yet");
  const CheckpointStatus& saved = *status.checkpoint;
  return line("checkpoint", fmt::format("step {}, {} ago, {:.0f} MB, {} kept", saved.step,
                                        duration_text(saved.age_seconds),
                                        static_cast<double>(saved.bytes) / 1e6, saved.kept));
}

std::string reliability(const RunStatus& status) {
  const int64_t launches = status.description.value("launches", int64_t{1});
  if (launches < 2) return {};
  return line("restarts",
              fmt::format("{}, {} done twice", launches - 1,
                          plural(status.description.value("lost_steps", int64_t{0}), "step")));
}

std::string table_of_ranks(const RunStatus& status, double median) {
  std::string text = fmt::format("\n  {:>5}  {:<16} {:>8}  {:<10} {:>7} {:>7} {:>7}  {}\n", "rank",
                                 "host", "step", "phase", "step s", "compute", "data", "health");
  for (const Heartbeat& host : status.hosts) {
    for (const RankView& rank : host.ranks) {
      text += fmt::format("  {:>5}  {:<16} {:>8}  {:<10} {:>7.3f} {:>7.3f} {:>7.3f}  {}\n",
                          rank.rank, fitted(rank.host, 16), rank.step, name_of(rank.phase),
                          rank.last_step.step, rank.mean_compute_seconds, rank.last_step.data_wait,
                          complaint(rank, host, median).empty() ? "ok" : "not ok");
    }
  }
  return text;
}

std::string table_of_hosts(const RunStatus& status, double median) {
  std::string text = fmt::format("\n  {:<24} {:>5} {:>8}  {:>8}  {:>15}  {}\n", "host", "ranks",
                                 "step", "compute", "slowest rank", "health");
  for (const Heartbeat& host : status.hosts) {
    if (host.ranks.empty()) continue;
    const auto sick = std::ranges::count_if(
        host.ranks, [&](const RankView& rank) { return !complaint(rank, host, median).empty(); });
    const auto least = std::ranges::min_element(host.ranks, {}, &RankView::step);
    const auto slowest = std::ranges::max_element(host.ranks, {}, &RankView::mean_compute_seconds);
    text += fmt::format("  {:<24} {:>5} {:>8}  {:>6.3f} s  {:>15}  {}\n", fitted(host.host, 24),
                        host.ranks.size(), least->step, slowest->mean_compute_seconds,
                        slowest->rank, sick == 0 ? "ok" : fmt::format("{} not ok", sick));
  }
  return text;
}

// What is wrong with the ranks that are not ok.
std::string complaints(const RunStatus& status, double median) {
  std::string text;
  size_t bad = 0;
  for (const Heartbeat& host : status.hosts) {
    for (const RankView& rank : host.ranks) {
      const std::string problem = complaint(rank, host, median);
      if (problem.empty() || ++bad > kMostComplaints) continue;
      text +=
          fitted(fmt::format("  rank {} on {}: {}", rank.rank, rank.host, problem), kWidth) + "\n";
    }
  }
  if (bad > kMostComplaints) text += fmt::format("  and {} more\n", bad - kMostComplaints);
  return text;
}

std::string health(const RunStatus& status) {
  size_t ranks = 0;
  for (const Heartbeat& host : status.hosts) ranks += host.ranks.size();
  if (status.over() || ranks == 0) return {};
  const double median = median_compute_seconds(status.hosts);
  return (ranks <= kMostRanks ? table_of_ranks(status, median) : table_of_hosts(status, median)) +
         complaints(status, median);
}

// The text of a report has long lines: broken where a word ends.
std::string wrapped(const std::string& text, const std::string& indent) {
  std::string result = indent, word;
  size_t column = indent.size();
  for (const char c : text + " ") {
    if (c != ' ' && c != '\n') {
      word += c;
      continue;
    }
    const bool first = column == indent.size();
    if (!first && column + 1 + word.size() > kWidth) {
      result += "\n" + indent + word;
      column = indent.size() + word.size();
    } else {
      result += (first ? "" : " ") + word;
      column += word.size() + (first ? 0 : 1);
    }
    if (c == '\n') {
      result += "\n" + indent;
      column = indent.size();
    }
    word.clear();
  }
  return result + "\n";
}

std::string advice(const RunStatus& status, const std::string& run) {
  std::string text;
  if (status.postmortem) {
    text += "\n" + wrapped(status.postmortem->text, "  ");
    text += fmt::format("  records and stacks: {}\n", status.postmortem->folder);
  } else if (status.state == "dead") {
    text += wrapped(
        "\nit ended without saying so: the job's output has the reason and the exit code", "  ");
  }
  const Json error = status.description.value("error", Json());
  if (status.state == "failed" && error.is_object()) {
    text += "\n" + wrapped(fmt::format("error[{}] on rank {}: {}", error.value("id", ""),
                                       error.value("rank", 0), error.value("message", "")),
                           "  ");
    text += wrapped("help: " + error.value("help", ""), "  ");
  }
  if (status.state == "failed") {
    text += fmt::format("\ncode {}: once that is mended, `lockstep resume {}` goes on\n",
                        status.description.value("exit_code", 1), run);
  }
  if (status.state == "dead" || status.state == "stopped")
    text += fmt::format("\n`lockstep resume {}` goes on\n", run);
  return text;
}

std::string for_people(const RunStatus& status, const std::string& run) {
  return head(status, run) + "\n" + progress(status) + speed(status) + learning(status) +
         checkpoints(status) + reliability(status) + health(status) + advice(status, run);
}

ExitCode status(const Options& options) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  for (;;) {
    const RunStatus now = read_status(options.run);
    // Over what stood there before, and nothing below it.
    if (options.watch && terminal) std::cout << "\x1b[H\x1b[2J";
    std::cout << (options.json ? to_json(now).dump() + "\n" : for_people(now, options.run))
              << std::flush;
    if (!options.watch || now.over()) return ExitCode::done;
    std::this_thread::sleep_for(kBetweenLooks);
  }
}

}  // namespace

void add_status(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "status", "say how a run is: state, progress, speed, checkpoints, the health of every rank");
  verb->add_option("RUN", options->run, "the run's folder")->required();
  verb->add_flag("--json", options->json, "one JSON object on a line");
  verb->add_flag("--watch", options->watch, "again every 2 seconds until the run is over");
  verb->callback([options, &chosen] { chosen = [options](World&) { return status(*options); }; });
}

}  // namespace lockstep::runner
