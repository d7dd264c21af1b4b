#include "runner/checkpoints/checkpoint_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "comm/error.h"
#include "runner/files.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

void save(const CheckpointStore& store, int64_t step, int64_t keep = 100) {
  store.save({.step = step, .samples = 10 * step, .seconds = 0.5}, {{"seed", 1}}, keep,
             [step](const std::filesystem::path& folder) {
               write_file(folder / "a.bin", "weights of step " + std::to_string(step));
               write_file(folder / "b.bin", std::string(1000, 'b'));
             });
}

const auto kNoReport = [](const std::string&) {};

TEST(CheckpointStore, GivesBackWhatWasSaved) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  save(store, 7);
  const Manifest manifest = verify_checkpoint(store.newest_sound(kNoReport));
  EXPECT_EQ(manifest.progress.step, 7);
  EXPECT_EQ(manifest.progress.samples, 70);
  EXPECT_EQ(manifest.progress.seconds, 0.5);
  EXPECT_EQ(manifest.recipe["seed"], 1);
  EXPECT_EQ(read_text(folder.path() / "LATEST"), "step-00000007\n");
}

TEST(CheckpointStore, KeepsTheNewest) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  for (const int64_t step : {5, 10, 15, 20}) save(store, step, 2);
  EXPECT_EQ(store.steps(), (std::vector<int64_t>{15, 20}));
}

TEST(CheckpointStore, AFailedWriteLeavesTheOldOnes) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  save(store, 5, 1);
  EXPECT_THROW(store.save({.step = 6}, {}, 1,
                          [](const std::filesystem::path& aside) {
                            write_file(aside / "a.bin", "half");
                            throw WriteError("E501", "the disk is full");
                          }),
               WriteError);
  EXPECT_EQ(store.steps(), std::vector<int64_t>{5});
  EXPECT_EQ(store.newest_sound(kNoReport), store.path(5));
  save(store, 6, 1);
  EXPECT_EQ(store.steps(), std::vector<int64_t>{6});
}

TEST(CheckpointStore, FallsBackFromWhatIsDamaged) {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  for (const int64_t step : {1, 2, 3, 4}) save(store, step);
  std::filesystem::remove(store.path(4) / "a.bin");
  std::ofstream(store.path(3) / "a.bin") << "weights of step 9";  // the same length
  std::filesystem::resize_file(store.path(2) / "b.bin", 999);
  std::vector<std::string> reports;
  EXPECT_EQ(store.newest_sound([&](const std::string& text) { reports.push_back(text); }),
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

}  // namespace
}  // namespace lockstep::runner
