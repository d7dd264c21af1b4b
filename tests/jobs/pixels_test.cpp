// Facts in closed form; the pixels themselves are held against Pillow and timm in tests/parity.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "jobs/pixels/affine.h"
#include "jobs/pixels/blur.h"
#include "jobs/pixels/colour.h"
#include "jobs/pixels/crops.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/hue.h"
#include "jobs/pixels/normalise.h"
#include "jobs/pixels/rand_augment.h"
#include "jobs/pixels/resample.h"

namespace lockstep::pixels {
namespace {

Image noise(int width, int height) {
  Image image(width, height);
  jobs::Random random(5, jobs::Purpose::pictures, static_cast<uint64_t>(width),
                      static_cast<uint64_t>(height));
  for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(random.bits());
  return image;
}

TEST(Decode, ReadsBackWhatWasEncoded) {
  const Image image = noise(37, 21);
  const Image again = decode(encode_png(image));
  EXPECT_EQ(again.width, 37);
  EXPECT_EQ(again.height, 21);
  EXPECT_EQ(again.rgb, image.rgb);
  const Image jpeg = decode(encode_jpeg(
      draw_picture(1, 48, *std::make_unique<jobs::Random>(1, jobs::Purpose::pictures, 0, 0)), 90));
  EXPECT_EQ(jpeg.width, 48);
}

TEST(Decode, RefusesEveryCutOfAFile) {
  for (const std::vector<std::byte>& file :
       {encode_png(noise(20, 20)), encode_jpeg(noise(20, 20), 90)}) {
    for (size_t length = 0; length + 20 < file.size(); length += 7) {
      EXPECT_THROW(decode(std::span(file).first(length)), ImageError) << length;
    }
  }
}

TEST(Decode, RefusesHugeClaimsBeforeTakingMemory) {
  std::vector<std::byte> png = encode_png(noise(4, 4));
  // The width and height of the header, with its checksum switched off by libpng's own check: any
  // message will do, memory must not.
  for (size_t i = 16; i < 24; ++i) png[i] = std::byte{0x7f};
  EXPECT_THROW(decode(png), ImageError);
  std::vector<std::byte> jpeg = encode_jpeg(noise(16, 16), 90);
  const std::byte marker[] = {std::byte{0xFF}, std::byte{0xC0}};
  const auto frame = std::search(jpeg.begin(), jpeg.end(), std::begin(marker), std::end(marker));
  ASSERT_NE(frame, jpeg.end());
  for (int i = 5; i < 9; ++i) frame[i] = std::byte{0xEA};  // 60138 x 60138
  EXPECT_THROW(decode(jpeg), ImageError);
}

TEST(Decode, RefusesWhatIsNoPicture) {
  const std::string text = "This is no picture, whatever its name says.";
  EXPECT_THROW(decode(std::as_bytes(std::span(text))), ImageError);
}

TEST(Resize, LeavesAPictureOfTheSameSizeAlone) {
  const Image image = noise(30, 17);
  EXPECT_EQ(resize(image, {0, 0, 30, 17}, 30, 17, Filter::bicubic).rgb, image.rgb);
  EXPECT_EQ(resize(image, {3, 4, 10, 10}, 10, 10, Filter::bicubic).rgb,
            crop(image, {3, 4, 10, 10}).rgb);
}

TEST(Resize, KeepsAnEvenPictureEven) {
  Image image(31, 45);
  std::ranges::fill(image.rgb, uint8_t{77});
  for (const Filter filter : {Filter::bilinear, Filter::bicubic, Filter::lanczos}) {
    for (const auto& [width, height] : {std::pair{7, 99}, {99, 7}, {1, 1}, {200, 200}}) {
      const Image result = resize(image, {2, 3, 20, 30}, width, height, filter);
      EXPECT_TRUE(std::ranges::all_of(result.rgb, [](uint8_t v) { return v == 77; }));
    }
  }
}

TEST(Affine, MovesByWholePixelsWithoutAChange) {
  const Image image = noise(24, 18);
  const Colour fill{1, 2, 3};
  const Image moved = affine(image, {1, 0, 5, 0, 1, 0}, Filter::bicubic, fill);
  for (int y = 0; y < 18; ++y) {
    for (int x = 0; x < 24; ++x) {
      for (size_t c = 0; c < 3; ++c) {
        EXPECT_EQ(moved.at(x, y)[c], x + 5 < 24 ? image.at(x + 5, y)[c] : fill[c]);
      }
    }
  }
}

TEST(Colour, TwiceIsOnce) {
  const Image image = noise(16, 16);
  EXPECT_EQ(flip_horizontal(flip_horizontal(image)).rgb, image.rgb);
  EXPECT_EQ(invert(invert(image)).rgb, image.rgb);
  EXPECT_EQ(greyscale(greyscale(image)).rgb, greyscale(image).rgb);
  EXPECT_EQ(contrast(image, 1.0).rgb, image.rgb);
  EXPECT_EQ(posterize(image, 8).rgb, image.rgb);
}

Image even(int width, int height, Colour colour) {
  Image image(width, height);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = colour[i % 3];
  return image;
}

TEST(GaussianBlur, KeepsAnEvenPictureEven) {
  for (const Colour colour : {Colour{0, 0, 0}, Colour{255, 255, 255}, Colour{1, 128, 254}}) {
    for (const auto& [width, height] : {std::pair{40, 23}, {1, 9}, {9, 1}, {1, 1}}) {
      const Image image = even(width, height, colour);
      for (const double radius : {0.1, 0.7, 1.0, 2.0, 13.0}) {
        EXPECT_EQ(gaussian_blur(image, radius).rgb, image.rgb) << radius;
      }
    }
  }
}

TEST(GaussianBlur, OfRadiusZeroChangesNothing) {
  const Image image = noise(31, 18);
  EXPECT_EQ(gaussian_blur(image, 0.0).rgb, image.rgb);
}

TEST(GaussianBlur, SpreadsAPointAlikeToAllSidesAndAsFarAsItsRadius) {
  constexpr int kSide = 41, kMiddle = kSide / 2;
  Image image = even(kSide, kSide, {0, 0, 0});
  for (size_t c = 0; c < 3; ++c) image.at(kMiddle, kMiddle)[c] = 255;
  const Image result = gaussian_blur(image, 1.5);
  double sum = 0, squares = 0;
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      const int level = result.at(x, y)[1];
      EXPECT_EQ(level, result.at(kSide - 1 - x, y)[1]);
      EXPECT_EQ(level, result.at(x, kSide - 1 - y)[1]);
      sum += level;
      squares += level * (x - kMiddle) * (x - kMiddle);
    }
  }
  // A box blur keeps the sum and adds its variance; roundings of some 50 pixels are what is
  // missing.
  EXPECT_NEAR(sum, 255, 25);
  EXPECT_NEAR(std::sqrt(squares / sum), 1.5, 0.15);
}

TEST(Hue, LeavesGreyAlone) {
  Image greys(256, 1);
  for (size_t i = 0; i < greys.rgb.size(); ++i) greys.rgb[i] = static_cast<uint8_t>(i / 3);
  for (const double turns : {-0.5, -0.1, 0.0, 0.1, 0.5})
    EXPECT_EQ(hue(greys, turns).rgb, greys.rgb);
}

TEST(Hue, TurnsRedToGreenAndBlue) {
  const Image red = even(1, 1, {200, 0, 0});
  EXPECT_EQ(hue(red, 0.0).rgb, even(1, 1, {200, 0, 0}).rgb);
  EXPECT_EQ(hue(red, 85.0 / 255).rgb, even(1, 1, {0, 200, 0}).rgb);
  EXPECT_EQ(hue(even(1, 1, {0, 200, 0}), 85.0 / 255).rgb, even(1, 1, {0, 0, 200}).rgb);
}

TEST(Hue, KeepsTheLargestOfEachPixel) {
  const Image image = noise(61, 37);  // no multiple of any vector's width
  const Image turned = hue(image, 0.3);
  EXPECT_NE(turned.rgb, image.rgb);
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    EXPECT_EQ(std::max({turned.rgb[i], turned.rgb[i + 1], turned.rgb[i + 2]}),
              std::max({image.rgb[i], image.rgb[i + 1], image.rgb[i + 2]}));
  }
}

TEST(Normalise, IsWhatEachLibraryWritesDown) {
  const Image image = noise(64, 64);
  std::vector<float> timm(image.rgb.size()), torchvision(image.rgb.size());
  normalise_like_timm(image.rgb, timm.data());
  normalise_like_torchvision(image.rgb, torchvision.data());
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    const auto byte = static_cast<float>(image.rgb[i]);
    const double mean = kImageNetMean[i % 3], deviation = kImageNetDeviation[i % 3];
    EXPECT_EQ(timm[i],
              (byte - static_cast<float>(255 * mean)) / static_cast<float>(255 * deviation));
    EXPECT_EQ(torchvision[i],
              (byte / 255.0f - static_cast<float>(mean)) / static_cast<float>(deviation));
  }
}

TEST(RandomResizedCrop, StaysInsideWithinScaleAndRatio) {
  for (uint64_t i = 0; i < 2000; ++i) {
    jobs::Random random(0, jobs::Purpose::augmentation, 0, i);
    const Box box = random_resized_crop(500, 375, {0.08, 1.0}, {0.75, 4.0 / 3.0}, random);
    ASSERT_GE(box.left, 0);
    ASSERT_GE(box.top, 0);
    ASSERT_LE(box.left + box.width, 500);
    ASSERT_LE(box.top + box.height, 375);
    const double share = box.width * box.height / (500.0 * 375.0);
    ASSERT_GT(share, 0.079);
    const double ratio = static_cast<double>(box.width) / box.height;
    ASSERT_GT(ratio, 0.74);
    ASSERT_LT(ratio, 1.35);
  }
}

TEST(RandomResizedCrop, FallsBackToTheCentre) {
  jobs::Random random(0, jobs::Purpose::augmentation, 0, 0);
  // No box of this share and shape fits into so flat a picture.
  const Box box = random_resized_crop(1000, 10, {0.9, 1.0}, {0.75, 4.0 / 3.0}, random);
  EXPECT_EQ(box.height, 10);
  EXPECT_EQ(box.width, 13);  // round(10 * 4 / 3)
  EXPECT_EQ(box.left, (1000 - 13) / 2);
}

TEST(RandAugment, RefusesWhatItDoesNotKnow) {
  for (const char* text :
       {"", "rand-", "randm9", "rand-m", "rand-x3", "rand-mx", "rand-m9-tweights", "original"}) {
    EXPECT_THROW(RandAugment::parse(text), std::invalid_argument) << text;
  }
  EXPECT_NO_THROW(RandAugment::parse("rand"));
  EXPECT_NO_THROW(RandAugment::parse("rand-m9-n3-p0.7-mstd0.5-mmax15-inc1"));
}

TEST(RandAugment, LeavesAQuarterOfThePicturesAlone) {
  const RandAugment augment = RandAugment::parse("rand-m9-inc1");
  const Image image = noise(12, 12);
  int untouched = 0;
  for (uint64_t i = 0; i < 4000; ++i) {
    jobs::Random random(0, jobs::Purpose::augmentation, 0, i);
    untouched += augment.apply(image, random, {}).rgb == image.rgb ? 1 : 0;
  }
  // Both of two operations stay away with a chance of 1/4; on noise a few change nothing by
  // themselves.
  EXPECT_GT(untouched, 900);
  EXPECT_LT(untouched, 1500);
}

TEST(DrawPicture, KnowsTenClasses) {
  EXPECT_EQ(drawn_classes().size(), 10u);
  EXPECT_TRUE(std::ranges::is_sorted(drawn_classes()));
}

}  // namespace
}  // namespace lockstep::pixels
