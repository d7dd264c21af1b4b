// Runs one operation on fixed inputs, so that callgrind can count its instructions:
// instructions.py.
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "comm/tree_sum.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/normalise.h"
#include "jobs/pixels/rand_augment.h"
#include "jobs/pixels/resample.h"
#include "jobs/random.h"
#include "runner/kernels/update.h"

// What callgrind is told to count within.
extern "C" [[gnu::noinline]] void counted(const std::function<void()>& work) { work(); }

namespace lockstep {
namespace {

constexpr int64_t kValues = 1 << 20;

// Once for what comes in with the first call, once for the count.
void count(const std::function<void()>& work) {
  work();
  counted(work);
}

// A crop of a JPEG, augmented in eight ways, as ResNet-strikes-back's A2 has it.
void count_picture() {
  jobs::Random random(1, jobs::Purpose::pictures, 0, 0);
  const auto file = pixels::encode_jpeg(pixels::draw_picture(3, 400, random), 90);
  const auto augment = pixels::RandAugment::parse("rand-m7-mstd0.5-inc1");
  const pixels::Box box{50, 40, 300, 280};
  std::vector<float> values(3 * 224 * 224);
  count([&] {
    for (uint64_t i = 0; i < 8; ++i) {
      jobs::Random draws(1, jobs::Purpose::augmentation, 0, i);
      const pixels::Part part = pixels::decode_around(file, box);
      pixels::Image image =
          pixels::resize(part.image, part.place_of(box), 224, 224, pixels::Filter::bicubic);
      image = augment.apply(std::move(image), draws, {pixels::Filter::bicubic});
      pixels::normalise_like_timm(image.rgb, values.data());
    }
  });
}

// LAMB with an average over three segments.
void count_update() {
  const std::vector<runner::UpdateSegment> segments{
      {.offset = 0, .size = kValues / 2},
      {.offset = kValues / 2, .size = kValues / 4, .decays = false},
      {.offset = 3 * kValues / 4, .size = kValues / 4}};
  std::vector<float> parameters(kValues, 0.5f), gradients(kValues), moment1(kValues),
      moment2(kValues), average(kValues);
  count([&] {
    gradients.assign(kValues, 0.01f);
    double norms[3];
    runner::squared_norms(segments, gradients.data(), 1.0, norms);
    runner::update(segments, {},
                   {.learning_rate = 1e-3, .weight_decay = 0.02, .average_decay = 0.9},
                   {parameters.data(), gradients.data(), moment1.data(), moment2.data(),
                    average.data(), norms});
  });
}

// Two ranks' arenas in host memory.
void count_sum() {
  std::vector<float> mine(kValues, 1.0f), theirs(kValues, 2.0f);
  const float* const parts[] = {mine.data(), theirs.data()};
  float* const results[] = {mine.data(), theirs.data()};
  count([&] { comm::add_in_tree(parts, results, kValues); });
}

}  // namespace
}  // namespace lockstep

int main(int count, char** arguments) {
  const std::map<std::string, void (*)()> operations{{"picture", &lockstep::count_picture},
                                                     {"update", &lockstep::count_update},
                                                     {"sum", &lockstep::count_sum}};
  const auto found = operations.find(count == 2 ? arguments[1] : "");
  if (found == operations.end()) {
    std::fprintf(stderr, "usage: counted picture|update|sum\n");
    return 2;
  }
  found->second();
  return 0;
}
