#include "runner/checkpoints/checkpoint_store.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <limits>

#include "comm/error.h"
#include "runner/files.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

void save(const CheckpointStore& store, int64_t step, const Retention& keep = {.newest = 100},
          const std::map<std::string, double>& evaluation = {}) {
  store.save(
      {.progress = {.step = step, .samples = 10 * step, .seconds = 0.5},
       .recipe = {{"seed", 1}},
       .evaluation = evaluation},
      keep, [step](const std::filesystem::path& folder) -> Manifest::Files {
        return {{"a.bin", write_file(folder / "a.bin", "weights of step " + std::to_string(step))},
                {"b.bin", write_file(folder / "b.bin", std::string(1000, 'b'))}};
      });
}

const auto kNoReport = [](const std::string&) {};

TEST(CheckpointStore, GivesBackWhatWasSaved) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  save(store, 7);
  const Manifest manifest = verify_checkpoint(store.newest_sound(kNoReport).path);
  EXPECT_EQ(manifest.progress.step, 7);
  EXPECT_EQ(manifest.progress.samples, 70);
  EXPECT_EQ(manifest.progress.seconds, 0.5);
  EXPECT_EQ(manifest.recipe["seed"], 1);
  EXPECT_EQ(read_text(folder.path() / "LATEST"), "step-00000007\n");
}

TEST(CheckpointStore, KeepsTheNewest) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  for (const int64_t step : {5, 10, 15, 20}) save(store, step, {.newest = 2});
  EXPECT_EQ(store.steps(), (std::vector<int64_t>{15, 20}));
}

TEST(CheckpointStore, KeepsTheBestAndEveryNth) {
  const std::vector<double> top1{10, 70, 30, 70, 50, 60};
  for (const auto& [keep, kept] : std::vector<std::pair<Retention, std::vector<int64_t>>>{
           {{.newest = 1, .best = "top1"}, {20, 30}},
           {{.newest = 1, .best = "loss"}, {5, 30}},
           {{.newest = 1, .best = "top9"}, {30}},
           {{.newest = 2, .every = 10}, {10, 20, 25, 30}},
           {{.newest = 1, .every = 15, .best = "top1"}, {15, 20, 30}}}) {
    const TemporaryFolder folder;
    const CheckpointStore store(folder.path());
    for (size_t i = 0; i < top1.size(); ++i) {
      save(store, 5 * static_cast<int64_t>(i + 1), keep,
           {{"top1", top1[i]}, {"loss", top1[i] / 7}});
    }
    EXPECT_EQ(store.steps(), kept) << keep.best << keep.every;
  }
}

TEST(CheckpointStore, WhatIsNoNumberIsNeverTheBest) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  const Retention keep{.newest = 1, .best = "top1"};
  save(store, 1, keep, {{"top1", 5.0}});
  save(store, 2, keep, {{"top1", std::numeric_limits<double>::quiet_NaN()}});
  save(store, 3, keep);
  EXPECT_EQ(store.steps(), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(verify_checkpoint(store.path(1)).evaluation.at("top1"), 5.0);
}

TEST(CheckpointStore, RoomForAllThatIsKeptIsLookedFor) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path() / "checkpoints");
  std::vector<std::string> reports;
  const auto report = [&](const std::string& text) { reports.push_back(text); };
  const auto available = static_cast<int64_t>(std::filesystem::space(folder.path()).available);
  store.probe(available / 8, {.newest = 2}, report);
  EXPECT_TRUE(reports.empty());
  store.probe(available / 2, {.newest = 3}, report);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_NE(reports[0].find("4 more checkpoints"), std::string::npos);
  EXPECT_THROW(store.probe(2 * available, {.newest = 1}, report), WriteError);
}

// What goes, goes after the new one has its name: of the newest, the best and every nth.
TEST(CheckpointStore, AFailedWriteLeavesTheOldOnes) {
  for (const auto& [keep, kept] : std::vector<std::pair<Retention, std::vector<int64_t>>>{
           {{.newest = 1}, {8}},
           {{.newest = 1, .best = "top1"}, {6, 8}},
           {{.newest = 2, .every = 5}, {5, 7, 8}}}) {
    const TemporaryFolder folder;
    const CheckpointStore store(folder.path());
    for (const int64_t step : {4, 5, 6, 7})
      save(store, step, {.newest = 9}, {{"top1", step == 6 ? 9.0 : 1.0}});
    EXPECT_THROW(store.save({.progress = {.step = 8}, .evaluation = {{"top1", 10.0}}}, keep,
                            [](const std::filesystem::path& aside) -> Manifest::Files {
                              write_file(aside / "a.bin", "half");
                              throw WriteError("E501", "the disk is full");
                            }),
                 WriteError);
    EXPECT_EQ(store.steps(), (std::vector<int64_t>{4, 5, 6, 7}));
    EXPECT_EQ(store.newest_sound(kNoReport).path, store.path(7));
    save(store, 8, keep, {{"top1", 2.0}});
    EXPECT_EQ(store.steps(), kept) << keep.best << keep.every;
  }
}

// A disk that says that it wrote, and did not.
TEST(CheckpointStore, WhatIsReadBackOtherwiseIsNotNamed) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  save(store, 5, {.newest = 1});
  for (const char* in_place_of : {"weightz", "weight", ""}) {
    const auto write = [in_place_of](const std::filesystem::path& aside) -> Manifest::Files {
      const auto file = aside / "a.bin";
      Manifest::Files files{{"a.bin", write_file(file, "weights")}};
      std::filesystem::remove(file);
      if (*in_place_of != '\0') std::ofstream(file) << in_place_of;
      return files;
    };
    EXPECT_THROW(store.save({.progress = {.step = 6}}, {.newest = 1}, write), WriteError);
    EXPECT_EQ(store.steps(), std::vector<int64_t>{5});
  }
}

TEST(CheckpointStore, WhatARunFellBackFromDoesNotCount) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  for (const int64_t step : {5, 10, 15}) save(store, step);
  std::filesystem::resize_file(store.path(15) / "a.bin", 3);
  std::filesystem::resize_file(store.path(10) / "a.bin", 3);
  save(store, 6, {.newest = 1});  // a run that went on from step 5
  EXPECT_EQ(store.steps(), std::vector<int64_t>{6});
  EXPECT_EQ(store.newest_sound(kNoReport).manifest.progress.step, 6);
}

TEST(CheckpointStore, FallsBackFromWhatIsDamaged) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  for (const int64_t step : {1, 2, 3, 4}) save(store, step);
  std::filesystem::remove(store.path(4) / "a.bin");
  std::ofstream(store.path(3) / "a.bin") << "weights of step 9";  // the same length
  std::filesystem::resize_file(store.path(2) / "b.bin", 999);
  std::vector<std::string> reports;
  EXPECT_EQ(store.newest_sound([&](const std::string& text) { reports.push_back(text); }).path,
            store.path(1));
  ASSERT_EQ(reports.size(), 3u);
  EXPECT_NE(reports[0].find("a.bin"), std::string::npos);
  EXPECT_NE(reports[2].find("999 bytes of 1000"), std::string::npos);
}

TEST(CheckpointStore, SeesEveryBitOfAManifest) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  save(store, 1);
  const auto file = store.path(1) / "manifest.json";
  const std::string sound = read_text(file);
  for (size_t i = 0; i < sound.size(); ++i) {
    std::string flipped = sound;
    flipped[i] = static_cast<char>(flipped[i] ^ 2);
    std::ofstream(file, std::ios::binary) << flipped;
    // White space may change: the meaning is what counts.
    if (nlohmann::json::parse(flipped, nullptr, false) == nlohmann::json::parse(sound)) continue;
    EXPECT_THROW(verify_checkpoint(store.path(1)), CheckpointError) << i;
  }
}

TEST(CheckpointStore, AFolderWithoutManifestIsNone) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  save(store, 1);
  std::filesystem::remove(store.path(1) / "manifest.json");
  EXPECT_TRUE(store.steps().empty());
  EXPECT_THROW(store.newest_sound(kNoReport), CheckpointError);
}

// In a child that may mount: `work` on a file system of its own; it says what went wrong.
std::string on_small_disk(const std::function<std::string(const std::filesystem::path&)>& work) {
  const TemporaryFolder folder;
  const auto report = folder.path() / "report", disk = folder.path() / "disk";
  std::filesystem::create_directory(disk);
  const pid_t child = fork();
  if (child == 0) {
    const uid_t user = geteuid();
    const gid_t group = getegid();
    std::string said = "cannot mount";
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
      std::ofstream("/proc/self/setgroups") << "deny";
      std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
      std::ofstream("/proc/self/gid_map") << "0 " << group << " 1";
      try {
        if (mount("none", disk.c_str(), "tmpfs", 0, "size=1m") == 0) said = work(disk);
      } catch (const std::exception& error) {
        said = error.what();
      }
    }
    std::ofstream(report) << said;
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  return read_text(report);
}

// Each file of it takes three pages.
void save_pages(const CheckpointStore& store, int64_t step) {
  store.save({.progress = {.step = step}}, {.newest = 100},
             [](const std::filesystem::path& folder) {
               Manifest::Files files;
               for (const char* name : {"a.bin", "b.bin"})
                 files[name] = write_file(folder / name, std::string(10000, 'x'));
               return files;
             });
}

// The room left when the second checkpoint begins: nothing, then a page more each time until all of
// it fits. So the disk is full in the middle of every file and before every one.
TEST(CheckpointStore, AFullDiskAtAnyStageHarmsNothing) {
  int failed = 0, saved = 0;
  for (int pages = 0; saved == 0 && pages < 64; ++pages) {
    const std::string said =
        on_small_disk([pages](const std::filesystem::path& disk) -> std::string {
          const CheckpointStore store(disk / "checkpoints");
          save_pages(store, 1);
          const std::filesystem::space_info space = std::filesystem::space(disk);
          const std::string size = "size=" + std::to_string(space.capacity - space.available +
                                                            4096u * static_cast<unsigned>(pages));
          if (mount("none", disk.c_str(), "tmpfs", MS_REMOUNT, size.c_str()) != 0)
            return "no remount";
          std::string outcome = "saved";
          try {
            save_pages(store, 2);
          } catch (const WriteError& error) {
            outcome = error.id();
          }
          const auto newest =
              store.newest_sound([&](const std::string& text) { outcome += text; }).path;
          if (outcome == "saved" && newest != store.path(2)) return "not the newest";
          verify_checkpoint(store.path(1));
          if (mount("none", disk.c_str(), "tmpfs", MS_REMOUNT, "size=1m") != 0) return "no remount";
          save_pages(store, 3);
          return store.newest_sound(kNoReport).path == store.path(3) ? outcome
                                                                     : "not saved with room";
        });
    ASSERT_TRUE(said == "saved" || said == "E501") << pages << ": " << said;
    (said == "saved" ? saved : failed) += 1;
  }
  EXPECT_EQ(saved, 1);
  EXPECT_GE(failed, 8);  // pages of two files and a manifest
}

}  // namespace
}  // namespace lockstep::runner
