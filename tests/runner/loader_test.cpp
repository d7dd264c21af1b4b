#include "runner/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <mutex>
#include <numeric>
#include <set>
#include <string_view>
#include <thread>

#include "comm/error.h"
#include "jobs/pixels/image.h"
#include "runner/processor_cores.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

// Counts instead of pictures: what came, from where, in what order.
class CountingMaker final : public jobs::BatchMaker {
 public:
  std::vector<jobs::Field> fields(int64_t rows) const override {
    return {{"samples", jobs::Field::Kind::int64, {rows}}, {"sum", jobs::Field::Kind::int64, {1}}};
  }
  void make_samples(std::span<const std::byte> file, int64_t,
                    std::span<const jobs::SamplePlace> places, jobs::MakerSeconds&) const override {
    if (file.empty()) throw pixels::ImageError("the file is empty");
    if (file.size() == 24) be_large();
    for (const auto& [key, index, arrays] : places) samples(arrays)[index] = key.sample;
    made += static_cast<int64_t>(places.size());
    ++decoded;
  }
  void finish_shard(const jobs::ShardKey& key, int64_t count,
                    const jobs::ShardArrays& arrays) const override {
    *reinterpret_cast<int64_t*>(arrays[1].data()) =
        std::accumulate(samples(arrays), samples(arrays) + count, key.step);
  }
  static int64_t* samples(const jobs::ShardArrays& arrays) {
    return reinterpret_cast<int64_t*>(arrays[0].data());
  }

  // Waits until so many samples are made, for a minute at most.
  bool is_made(int64_t count) const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (made < count && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    return made >= count;
  }
  void be_large() const {
    most_large_at_once = std::max<int64_t>(most_large_at_once, ++large);
    for (int i = 0; i < 100; ++i) std::this_thread::yield();  // others come, if they may
    --large;
  }

  mutable std::atomic<int64_t> made = 0, decoded = 0, large = 0, most_large_at_once = 0;
};

// Tells of each row whose label it got and whose draws.
class ReadingMaker final : public jobs::BatchMaker {
 public:
  std::vector<jobs::Field> fields(int64_t rows) const override {
    return {{"labels", jobs::Field::Kind::int64, {rows}},
            {"draws", jobs::Field::Kind::int64, {rows}}};
  }
  void make_samples(std::span<const std::byte> file, int64_t label,
                    std::span<const jobs::SamplePlace> places, jobs::MakerSeconds&) const override {
    if (file.empty()) throw pixels::ImageError("the file is empty");
    for (const auto& [key, index, arrays] : places) {
      jobs::array_of<int64_t>(arrays, 0)[index] = label;
      jobs::array_of<int64_t>(arrays, 1)[index] = key.sample;
    }
  }
  void finish_shard(const jobs::ShardKey&, int64_t, const jobs::ShardArrays&) const override {}
};

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    for (const char* label : {"a", "b"}) {
      std::filesystem::create_directories(folder_.path() / label);
      for (int i = 0; i < 20; ++i) {
        std::ofstream(folder_.path() / label / (std::to_string(i) + ".jpg")) << "picture";
      }
    }
  }
  Dataset open() const { return Dataset::open(folder_.path(), Labels::needed); }

  static std::optional<ShardPlan> plan(int64_t k) {
    if (k >= 50) return std::nullopt;
    ShardPlan shard{.key = {.step = k, .shard = 0}, .samples = {}};
    for (int64_t i = 0; i < 1 + k % 4; ++i) shard.samples.push_back({.sample = (7 * k + i) % 40});
    return shard;
  }

  TemporaryFolder folder_;
};

TEST_F(LoaderTest, GivesTheSameBatchesInTheSameOrderOnAnyThreads) {
  const Dataset set = open();
  for (const int threads : {1, 2, 7}) {
    const CountingMaker maker;
    Loader loader({set, maker}, 4, plan, {.threads = threads});
    int64_t samples = 0;
    for (int64_t k = 0; k < 50; ++k) {
      const Loader::Slot* slot = loader.next();
      ASSERT_NE(slot, nullptr);
      const ShardPlan wanted = *plan(k);
      int64_t sum = k;
      for (size_t i = 0; i < wanted.samples.size(); ++i) {
        ASSERT_EQ(CountingMaker::samples(slot->arrays)[i], wanted.samples[i].sample);
        sum += wanted.samples[i].sample;
      }
      ASSERT_EQ(*reinterpret_cast<int64_t*>(slot->arrays[1].data()), sum);
      samples += static_cast<int64_t>(wanted.samples.size());
      loader.release();
    }
    EXPECT_EQ(loader.next(), nullptr);
    EXPECT_EQ(maker.made, samples);
  }
}

TEST_F(LoaderTest, DecodesAPictureOnceForAllItsPlacesInTheRing) {
  const Dataset set = open();
  const CountingMaker maker;
  // Repeats as the sampler deals them: some in one shard, some in the next ones.
  const auto repeated = [](int64_t k) -> std::optional<ShardPlan> {
    if (k >= 3) return std::nullopt;
    ShardPlan shard;
    for (int64_t i = 0; i < 8; ++i)
      shard.samples.push_back({.sample = (3 * i + k) / 4, .repeat = k});
    return shard;
  };
  Loader loader({set, maker}, 8, repeated, {.threads = 3});
  std::set<int64_t> distinct;
  for (int64_t k = 0; k < 3; ++k) {
    const Loader::Slot* slot = loader.next();
    ASSERT_NE(slot, nullptr);
    for (size_t i = 0; i < 8; ++i) {
      const int64_t sample = repeated(k)->samples[i].sample;
      EXPECT_EQ(CountingMaker::samples(slot->arrays)[i], sample);
      distinct.insert(sample);
    }
    loader.release();
  }
  EXPECT_EQ(maker.made, 24);
  EXPECT_EQ(maker.decoded, static_cast<int64_t>(distinct.size()));
  EXPECT_EQ(loader.files_read(), static_cast<int64_t>(distinct.size()));
}

TEST_F(LoaderTest, ReadsWhatIsKeptInMemoryNoSecondTime) {
  const Dataset set = open();
  const CountingMaker maker;
  PictureCache cache =
      PictureCache::make(folder_.path() / "cache", PictureCache::Kind::files, set.size(), 1 << 20);
  const auto epoch = [](int64_t k) -> std::optional<ShardPlan> {
    if (k >= 10) return std::nullopt;
    ShardPlan shard;
    for (int64_t i = 0; i < 4; ++i) shard.samples.push_back({.sample = 4 * k + i});
    return shard;
  };
  for (const bool first : {true, false}) {
    Loader loader({set, maker, 0, &cache}, 4, epoch, {.threads = 2});
    while (loader.next() != nullptr) loader.release();
    if (first) std::filesystem::remove_all(folder_.path() / "a");
  }
  EXPECT_EQ(maker.made, 80);
}

TEST_F(LoaderTest, IsNoFurtherAheadThanItsSlots) {
  const Dataset set = open();
  const CountingMaker maker;
  Loader loader({set, maker}, 4, plan, {.threads = 4});
  loader.next();  // held: at most the three slots of 1, 2 and 3 samples are made
  EXPECT_LE(maker.made, 1 + 2 + 3);
}

TEST_F(LoaderTest, NamesAPictureThatCannotBeRead) {
  std::ofstream(folder_.path() / "b" / "5.jpg", std::ios::trunc);
  const Dataset set = open();
  const CountingMaker maker;
  Loader loader({set, maker}, 4, plan, {.threads = 2});
  try {
    while (loader.next() != nullptr) loader.release();
    FAIL() << "nothing was thrown";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("b/5.jpg': the file is empty"), std::string::npos)
        << error.what();
  }
}

TEST_F(LoaderTest, PutsTheNextReadablePictureInThePlaceOfOneThatIsNot) {
  for (const char* name : {"a/3.jpg", "a/4.jpg", "b/19.jpg"}) {  // samples 3, 4 and 39
    std::ofstream(folder_.path() / name, std::ios::trunc);
  }
  const Dataset set = open();
  std::filesystem::remove(folder_.path() / "b/7.jpg");  // 27
  const ReadingMaker maker;
  const auto all = [](int64_t k) -> std::optional<ShardPlan> {
    if (k > 0) return std::nullopt;
    ShardPlan shard;
    for (int64_t i = 0; i < 40; ++i) shard.samples.push_back({.sample = i});
    return shard;
  };
  for (const int threads : {1, 5}) {
    Loader loader({set, maker, 4}, 40, all, {.threads = threads, .slots = 2});
    const Loader::Slot* slot = loader.next();
    ASSERT_NE(slot, nullptr);
    const auto labels = jobs::array_of<int64_t>(slot->arrays, 0);
    const auto draws = jobs::array_of<int64_t>(slot->arrays, 1);
    for (int64_t i = 0; i < 40; ++i) {
      EXPECT_EQ(draws[i], i);  // the place decides the draws
      EXPECT_EQ(labels[i], i < 20 || i == 39 ? 0 : 1) << i;
    }
    std::set<int64_t> unreadable;
    for (const UnreadableSample& picture : slot->unreadable) unreadable.insert(picture.sample);
    EXPECT_EQ(unreadable, (std::set<int64_t>{3, 4, 27, 39}));
  }
}

// A set whose files come as a test lets them.
class GatedDataset final : public Dataset {
 public:
  using Gate = std::function<void(int64_t sample)>;
  GatedDataset(Dataset set, Gate gate) : Dataset(std::move(set)), gate_(std::move(gate)) {}
  void read(int64_t sample, std::vector<std::byte>& bytes) const override {
    gate_(sample);
    Dataset::read(sample, bytes);
  }

 private:
  Gate gate_;
};

// Opens when it was told so often; says whether that came about within a minute.
class Turnstile {
 public:
  void arrive() {
    const std::lock_guard lock(mutex_);
    ++arrived_;
    changed_.notify_all();
  }
  bool wait_for(int64_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1), [&] { return arrived_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t arrived_ = 0;
};

std::optional<ShardPlan> tens(int64_t k) {
  if (k >= 4) return std::nullopt;
  ShardPlan shard{.key = {.step = k}, .samples = {}};
  for (int64_t i = 0; i < 10; ++i) shard.samples.push_back({.sample = 10 * k + i});
  return shard;
}

TEST_F(LoaderTest, ReadsThirtyFilesAtOnce) {
  Turnstile all;
  std::atomic<bool> together = true;
  const GatedDataset set(open(), [&](int64_t sample) {
    if (sample >= 30) return;  // three slots of ten; the next only when one of them is free
    all.arrive();
    if (!all.wait_for(30)) together = false;
  });
  const CountingMaker maker;
  Loader loader({set, maker}, 10, tens, {.threads = 1});
  while (loader.next() != nullptr) loader.release();
  EXPECT_TRUE(together);
}

TEST_F(LoaderTest, ReadsNothingOnTheThreadThatTrains) {
  std::ofstream(folder_.path() / "a" / "3.jpg", std::ios::trunc);  // another is read in its place
  std::mutex mutex;
  std::set<std::thread::id> readers;
  const GatedDataset set(open(), [&](int64_t) {
    const std::lock_guard lock(mutex);
    readers.insert(std::this_thread::get_id());
  });
  const CountingMaker maker;
  Loader loader({set, maker, 4}, 10, tens, {.threads = 2});
  while (loader.next() != nullptr) loader.release();
  EXPECT_FALSE(readers.empty());
  EXPECT_FALSE(readers.contains(std::this_thread::get_id()));
}

TEST_F(LoaderTest, ASlowFileDelaysNoOtherSample) {
  const CountingMaker maker;
  bool others_were_made = false;
  const GatedDataset set(open(), [&](int64_t sample) {
    if (sample == 0) others_were_made = maker.is_made(29);  // the rest of three slots of ten
  });
  Loader loader({set, maker}, 10, tens, {.threads = 1});
  ASSERT_NE(loader.next(), nullptr);
  EXPECT_TRUE(others_were_made);
}

// A PNG's header, of which more is not looked at: 100 megapixels.
void write_large_picture(const std::filesystem::path& file) {
  constexpr std::string_view kHeader("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x27\x10\0\0\x27\x10", 24);
  std::ofstream(file, std::ios::trunc) << kHeader;
}

TEST_F(LoaderTest, MakesLargePicturesOneAtATime) {
  for (int i = 0; i < 20; ++i) {
    write_large_picture(folder_.path() / "a" / (std::to_string(i) + ".jpg"));
  }
  const Dataset set = open();
  const CountingMaker maker;
  Loader loader({set, maker}, 10, tens, {.threads = 6});
  while (loader.next() != nullptr) loader.release();
  EXPECT_EQ(maker.made, 40);
  EXPECT_EQ(maker.most_large_at_once, 1);
}

TEST_F(LoaderTest, RunsWhereItIsTold) {
  const std::vector<int> mine = allowed_cores();
  std::mutex mutex;
  std::set<std::vector<int>> seen;
  const GatedDataset set(open(), [&](int64_t) {
    const std::lock_guard lock(mutex);
    seen.insert(allowed_cores());
  });
  const CountingMaker maker;
  Loader loader({set, maker}, 10, tens, {.threads = 2, .cores = {mine.back()}});
  while (loader.next() != nullptr) loader.release();
  EXPECT_EQ(seen, (std::set<std::vector<int>>{{mine.back()}}));
  EXPECT_EQ(allowed_cores(), mine);
}

TEST_F(LoaderTest, EndsWhereTooManyInARowAreUnreadable) {
  for (int i = 0; i < 20; ++i) std::ofstream(folder_.path() / "a" / (std::to_string(i) + ".jpg"));
  const Dataset set = open();
  const CountingMaker maker;
  Loader loader({set, maker, 10}, 4, plan, {.threads = 2});
  EXPECT_THROW(while (loader.next() != nullptr) loader.release(), DataError);
}

TEST_F(LoaderTest, CanBeDroppedAtAnyMoment) {
  const Dataset set = open();
  const CountingMaker maker;
  for (int taken = 0; taken < 5; ++taken) {
    Loader loader({set, maker}, 4, plan, {.threads = 3, .slots = 2});
    for (int i = 0; i < taken; ++i) {
      loader.next();
      loader.release();
    }
  }
}

}  // namespace
}  // namespace lockstep::runner
