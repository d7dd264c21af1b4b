// With quick decoding, too, a picture's pixels hang on its own draws, not on what is made with it.
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "jobs/dino/multi_crop.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/random.h"
#include "jobs/rsb/rsb_batches.h"
#include "tests/jobs/batch_memory.h"

namespace lockstep::jobs {
namespace {

constexpr int64_t kRows = 8;

// All rows of a batch of draws of one picture, made by calls for so many at a time.
std::vector<std::vector<std::byte>> rows_made(const BatchMaker& maker, int64_t at_a_time) {
  BatchMemory batch(maker, kRows);
  Random random(1, Purpose::pictures, 0, 3);
  const auto file = pixels::encode_jpeg(pixels::draw_picture(3, 500, random), 90);
  std::vector<SamplePlace> places;
  for (int64_t i = 0; i < kRows; ++i) {
    places.push_back({.key = {.epoch = i, .sample = 3}, .index = i, .arrays = batch.arrays});
  }
  MakerSeconds seconds;
  const std::span<const SamplePlace> all = places;
  for (int64_t i = 0; i < kRows; i += at_a_time) {
    maker.make_samples(file, 0, all.subspan(static_cast<size_t>(i), static_cast<size_t>(at_a_time)),
                       seconds);
  }
  maker.finish_shard({}, kRows, batch.arrays);
  return std::move(batch.memory);
}

void expect_the_same_rows(const BatchMaker& maker) {
  const auto alone = rows_made(maker, 1);
  EXPECT_EQ(rows_made(maker, 2), alone);
  EXPECT_EQ(rows_made(maker, kRows), alone);
}

TEST(FastDecode, OfRsbHangsOnThePlaceAlone) {
  expect_the_same_rows(*make_rsb_training_batches(
      {.seed = 2, .fast_decode = true, .classes = 3, .size = 32}, Field::Kind::uint8));
}

TEST(FastDecode, OfDinoHangsOnThePlaceAlone) {
  expect_the_same_rows(*make_multi_crop(
      {.seed = 2, .fast_decode = true, .global_size = 48, .local_size = 16, .local_count = 2},
      Field::Kind::uint8));
}

}  // namespace
}  // namespace lockstep::jobs
