#include "runner/checkpoints/snapshot.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "runner/checkpoints/tiered_checkpoints.h"
#include "runner/files.h"
#include "runner/model.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

class SnapshotTest : public testing::Test {
 protected:
  static Model model_of(const char* overrides) {
    const TemporaryFolder folder;
    write_file(folder.path() / "recipe.toml", R"(
job = "rsb"
batch.size = 4
model = {name = "resnet18", classes = 10}
average.decay = 0.9
)");
    const RunPlan plan =
        make_plan(Recipe::read(folder.path() / "recipe.toml", {overrides}), {.samples = 400});
    Model model(plan, {});
    model.start(plan);
    return model;
  }

  static void expect_equal(const Arenas& a, const Arenas& b) {
    const auto one = a.all(), other = b.all();
    ASSERT_EQ(one.size(), other.size());
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(other[i])) << i;
  }

  void take(Snapshot& copy) const {
    ASSERT_EQ(copy.copy(model_.arenas), "");
    copy.seal({.step = 1});
  }

  const at::NoGradGuard no_grad_;
  const TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_.path() / "copy";
  Model model_ = model_of("seed=1");
};

TEST_F(SnapshotTest, OutlivesWhoMadeIt) {
  EXPECT_FALSE(Snapshot(model_.arenas, file_).verified());
  {
    Snapshot copy(model_.arenas, file_);
    ASSERT_EQ(copy.copy(model_.arenas), "");
    EXPECT_FALSE(copy.progress());  // not before it is sealed
    copy.seal({.step = 7, .samples = 28, .seconds = 0.5});
  }
  const Snapshot found(model_.arenas, file_);
  ASSERT_TRUE(found.verified());
  EXPECT_EQ(found.verified()->step, 7);
  EXPECT_EQ(found.verified()->samples, 28);
  EXPECT_EQ(found.verified()->seconds, 0.5);
  expect_equal(found.arenas(), model_.arenas);
}

TEST_F(SnapshotTest, IsACopy) {
  Snapshot copy(model_.arenas, {});
  take(copy);
  const at::Tensor before = model_.arenas.parameters.clone();
  model_.arenas.parameters.add_(1.0);
  EXPECT_TRUE(copy.arenas().parameters.equal(before));
  EXPECT_TRUE(copy.verified());
}

TEST_F(SnapshotTest, OneChangedBitInAnyArenaMakesItNone) {
  for (size_t i = 0; i < model_.arenas.all().size(); ++i) {
    Snapshot copy(model_.arenas, file_);
    take(copy);
    at::Tensor arena = copy.arenas().all()[i];
    auto* last = reinterpret_cast<uint8_t*>(arena.mutable_data_ptr<float>() + arena.numel()) - 1;
    *last ^= 0x80;
    EXPECT_FALSE(copy.verified()) << i;
    *last ^= 0x80;
    EXPECT_TRUE(copy.verified()) << i;
  }
}

TEST_F(SnapshotTest, KeepsNothingThatIsNotFiniteAndNamesIt) {
  Snapshot copy(model_.arenas, file_);
  take(copy);
  const Arenas& arenas = model_.arenas;
  const std::vector<std::pair<at::Tensor, std::string>> somewhere = {
      {arenas.state.parameters.at("layer1.0.conv1.weight").detach(),
       "the weight 'layer1.0.conv1.weight'"},
      {arenas.moment1.narrow(0, 0, 1), "the first moment of 'conv1.weight'"},
      {arenas.moment2.narrow(0, arenas.moment2.numel() - 1, 1), "the second moment of 'fc.bias'"},
      {arenas.state.average.at("fc.bias"), "the average of 'fc.bias'"},
      {arenas.state.buffers.at("bn1.running_var"), "the running statistic 'bn1.running_var'"},
      {arenas.state.average_buffers.at("bn1.running_mean"),
       "the average of the running statistic 'bn1.running_mean'"}};
  ASSERT_EQ(somewhere.size(), arenas.all().size());
  float value = std::numeric_limits<float>::infinity();
  for (const auto& [tensor, name] : somewhere) {
    at::Tensor last = tensor;
    while (last.dim() > 0) last = last[-1];
    const at::Tensor before = last.clone();
    last.fill_(value);
    EXPECT_EQ(copy.copy(arenas), name);
    EXPECT_FALSE(copy.progress());
    last.copy_(before);
    value = -std::numeric_limits<float>::quiet_NaN();
  }
}

TEST_F(SnapshotTest, OfAnotherModelIsNone) {
  Snapshot mine(model_.arenas, file_);
  take(mine);
  const Model other = model_of("model.classes=11");
  EXPECT_FALSE(Snapshot(other.arenas, file_).progress());
  EXPECT_TRUE(Snapshot(model_.arenas, file_).verified());
}

TEST_F(SnapshotTest, WithoutRoomItIsNotMade) {
  EXPECT_THROW(Snapshot(model_.arenas, "/proc/copy"), WriteError);
}

// A checkpoint every T seconds costs cost / T of the time, and a failure half of T on average.
TEST(LeastLoss, IsTheIntervalThatLosesLeast) {
  const double between_failures = 16384.0 * 54.0 * 86400.0 / 419.0;
  for (const auto& [cost, ranks] :
       {std::pair(0.2, 64), std::pair(1.0, 512), std::pair(5.0, 1024)}) {
    const auto lost = [&, cost = cost, ranks = ranks](double interval) {
      return cost / interval + 0.5 * interval * ranks / between_failures;
    };
    const double best = least_loss_seconds(cost, ranks);
    EXPECT_LT(lost(best), lost(best * 1.01));
    EXPECT_LT(lost(best), lost(best / 1.01));
  }
  EXPECT_EQ(least_loss_seconds(1e-9, 1 << 20), 60.0);
  EXPECT_EQ(least_loss_seconds(1e6, 1), 3600.0);
}

}  // namespace
}  // namespace lockstep::runner
