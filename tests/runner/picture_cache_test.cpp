#include "runner/data/picture_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "comm/error.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/part.h"
#include "jobs/pixels/resample.h"
#include "jobs/random.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

using Kind = PictureCache::Kind;

std::vector<std::byte> bytes_of_text(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> drawn_jpeg(int side) {
  jobs::Random random(1, jobs::Purpose::pictures, 0, 0);
  return pixels::encode_jpeg(pixels::draw_picture(3, side, random), 90);
}

bool equal(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::ranges::equal(a, b);
}

TEST(PictureCache, ShowsToEveryRankWhatOneOfThemKept) {
  const TemporaryFolder folder;
  PictureCache mine = PictureCache::make(folder.path() / "cache", Kind::files, 3, 1 << 20);
  PictureCache theirs = PictureCache::open(folder.path() / "cache", Kind::files);
  std::filesystem::remove(folder.path() / "cache");
  EXPECT_TRUE(theirs.find(1).empty());
  mine.keep_file(1, bytes_of_text("first"));
  theirs.keep_file(2, bytes_of_text("second"));
  theirs.keep_file(1, bytes_of_text("other"));  // what is kept stays
  EXPECT_TRUE(equal(theirs.find(1), bytes_of_text("first")));
  EXPECT_TRUE(equal(mine.find(2), bytes_of_text("second")));
  EXPECT_TRUE(mine.find(0).empty());
  EXPECT_EQ(mine.bytes(), 11);
}

TEST(PictureCache, KeepsNoMoreThanItMay) {
  const TemporaryFolder folder;
  PictureCache cache = PictureCache::make(folder.path() / "cache", Kind::files, 100, 1000);
  for (int64_t i = 0; i < 100; ++i) cache.keep_file(i, std::vector<std::byte>(64, std::byte{7}));
  EXPECT_EQ(cache.bytes(), 15 * 64);
  EXPECT_FALSE(cache.find(14).empty());
  EXPECT_TRUE(cache.find(15).empty());
}

TEST(PictureCache, KeepsDecodedPicturesToTheBit) {
  const TemporaryFolder folder;
  PictureCache cache = PictureCache::make(folder.path() / "cache", Kind::decoded, 4, 40000);
  const std::vector<std::byte> file = drawn_jpeg(100);  // 30 kB decoded: one of them has room
  jobs::MakerSeconds seconds;
  cache.keep_file(0, file);
  EXPECT_TRUE(cache.find(0).empty());
  const std::span<const std::byte> kept = cache.keep_decoded(0, file, seconds);
  EXPECT_EQ(kept.data(), cache.find(0).data());
  EXPECT_EQ(pixels::decode(kept).rgb, pixels::decode(file).rgb);
  const pixels::Box boxes[] = {{10, 20, 30, 40}, {60, 5, 40, 17}};
  const int sizes[] = {8, 8};
  const pixels::Parts parts = pixels::decode_parts(kept, boxes, sizes);
  const pixels::Part& of_kept = parts.of(0);
  for (const pixels::Box& box : boxes) {
    EXPECT_EQ(pixels::crop(of_kept.image, of_kept.place_of(box)).rgb,
              pixels::decode_crop(file, box).rgb);
  }
  EXPECT_EQ(cache.keep_decoded(0, kept, seconds).data(), kept.data());
  EXPECT_EQ(cache.keep_decoded(1, file, seconds).data(), file.data());  // no more room
  EXPECT_THROW(cache.keep_decoded(2, bytes_of_text("no picture"), seconds), pixels::ImageError);
}

TEST(PictureCache, IsRefusedWhereItHasNoPlace) {
  const TemporaryFolder folder;
  EXPECT_THROW(PictureCache::make(folder.path() / "absent" / "cache", Kind::files, 3, 1000),
               WriteError);
  EXPECT_THROW(PictureCache::open(folder.path() / "cache", Kind::files), WriteError);
}

}  // namespace
}  // namespace lockstep::runner
