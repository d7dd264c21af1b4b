#include "runner/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "runner/key_names.h"
#include "runner/report.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

class RecipeTest : public testing::Test {
 protected:
  Recipe read(const std::string& text, const std::vector<std::string>& overrides = {}) {
    const auto file = folder_.path() / "r.toml";
    std::ofstream(file) << text;
    return Recipe::read(file, overrides);
  }
  // The message as a user sees it, without the folder.
  template <typename Function>
  std::string message(Function&& function) {
    try {
      function();
    } catch (const UsageError& error) {
      std::string text = describe(error);
      const std::string prefix = folder_.path().string() + "/";
      for (size_t at; (at = text.find(prefix)) != std::string::npos;) text.erase(at, prefix.size());
      return text;
    }
    return "nothing was thrown";
  }

  TemporaryFolder folder_;
};

TEST_F(RecipeTest, PointsAtTheKeyLikeACompiler) {
  Recipe recipe = read("seed = 1\n[optimizer]\n  weigth_decay = 0.1\n");
  recipe.integer("seed", 0);
  recipe.number("optimizer.weight_decay", 0.0);
  EXPECT_EQ(message([&] { recipe.refuse_unread(); }),
            "error[E103]: unknown key 'optimizer.weigth_decay'\n"
            " --> r.toml:3:3\n"
            "  |\n"
            "3 |   weigth_decay = 0.1\n"
            "  |   ^\n"
            "help: did you mean 'weight_decay'?\n");
}

TEST_F(RecipeTest, LaysTheCommandLineOverTheFile) {
  Recipe recipe = read("name = 'a'\n[batch]\nsize = 8\n",
                       {"batch.size=16", "name=b c", "batch.list=[1, 2.5]", "deep.er=true"});
  EXPECT_EQ(recipe.integer("batch.size", 0), 16);
  EXPECT_EQ(recipe.text("name", ""), "b c");
  EXPECT_EQ(recipe.numbers("batch.list", {0, 0}), (std::vector<double>{1.0, 2.5}));
  EXPECT_TRUE(recipe.flag("deep.er", false));
  EXPECT_NO_THROW(recipe.refuse_unread());
}

TEST_F(RecipeTest, PointsAtTheOverride) {
  Recipe recipe = read("[batch]\nsize = 8\n", {"batch.size=0"});
  EXPECT_THAT(message([&] {
                recipe.integer("batch.size", 1, {1, 100});
              }),
              testing::HasSubstr("'batch.size' is 0, but must be from 1 to 100\n --> --set:1:1\n"));
}

TEST_F(RecipeTest, ResolvesToARecipeThatReadsTheSame) {
  const auto ask = [](Recipe& recipe) {
    recipe.text("job", "rsb");
    recipe.number("optimizer.learning_rate", 0.1);
    recipe.number("optimizer.tiny", 1e-300);
    recipe.numbers("augmentation.ratio", {3.0 / 4.0, 4.0 / 3.0});
    recipe.text("data.train", "");
    recipe.flag("log.weights_hash", false);
    recipe.integer("batch.size", 1);
    recipe.resolve("batch.shards", 4);
  };
  Recipe first = read(
      "job = 'rsb'\n[data]\ntrain = 'quote\" back\\slash \u00e4'\n[optimizer]\nlearning_rate = "
      "5e-3\n");
  ask(first);
  Recipe second = read(first.resolved_toml());
  ask(second);
  EXPECT_EQ(second.resolved_json(), first.resolved_json());
  EXPECT_NO_THROW(second.refuse_unread());
  EXPECT_THAT(first.resolved_toml(), testing::HasSubstr("learning_rate = 0.005\n"));
}

TEST_F(RecipeTest, NamesDifferences) {
  Recipe a = read("x = 1\n[t]\ny = 'a'\n"), b = read("x = 1\n[t]\ny = 'b'\nz = 3\n");
  for (Recipe* recipe : {&a, &b}) {
    recipe->integer("x", 0);
    recipe->text("t.y", "");
  }
  b.integer("t.z", 0);
  EXPECT_THAT(differences(a.resolved_json(), b.resolved_json()),
              testing::UnorderedElementsAre("t.y: \"a\" -> \"b\"", "t.z: absent -> 3"));
}

TEST(Nearest, KnowsWhatIsTooFar) {
  EXPECT_EQ(nearest("weigth_decay", {"weight_decay", "warmup_epochs"}), "weight_decay");
  EXPECT_EQ(nearest("sise", {"size", "scale"}), "size");
  EXPECT_EQ(nearest("banana", {"size", "scale"}), "");
}

}  // namespace
}  // namespace lockstep::runner
