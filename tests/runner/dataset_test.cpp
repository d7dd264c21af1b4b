#include "runner/dataset.h"

#include <gtest/gtest.h>

#include <fstream>

#include "comm/error.h"
#include "jobs/pixels/image.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

void touch(const std::filesystem::path& file) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << file.filename().string();
}

TEST(NaturalLess, ComparesNumbersAsNumbersAndLettersWithoutCase) {
  EXPECT_TRUE(natural_less("n2", "n10"));
  EXPECT_FALSE(natural_less("n10", "n2"));
  EXPECT_TRUE(natural_less("a/9.jpg", "a/10.jpg"));
  EXPECT_TRUE(natural_less("Bee", "cat"));
  EXPECT_TRUE(natural_less("a", "B"));
  EXPECT_TRUE(natural_less("x007", "x8"));
  EXPECT_TRUE(natural_less("img", "img1"));
  EXPECT_FALSE(natural_less("img", "img"));
}

TEST(Dataset, NumbersClassesAndPicturesInNaturalOrder) {
  const TemporaryFolder folder;
  for (const char* file :
       {"n10/b.JPEG", "n2/x10.jpg", "n2/x9.png", "n2/notes.txt", ".hidden/a.jpg", "readme.jpg"}) {
    touch(folder.path() / file);
  }
  const Dataset set = Dataset::open(folder.path(), Labels::needed);
  EXPECT_EQ(set.classes(), (std::vector<std::string>{"n2", "n10"}));
  ASSERT_EQ(set.size(), 3);
  EXPECT_EQ(set.name(0), "n2/x9.png");
  EXPECT_EQ(set.name(1), "n2/x10.jpg");
  EXPECT_EQ(set.label(2), 1);
  std::vector<std::byte> bytes;
  set.read(1, bytes);
  EXPECT_EQ(bytes.size(), std::string("x10.jpg").size());
}

TEST(Dataset, GoesThroughSymbolicLinks) {
  const TemporaryFolder folder;
  touch(folder.path() / "store/pictures/a.jpg");
  touch(folder.path() / "set/plain/b.jpg");
  std::filesystem::create_directory_symlink(folder.path() / "store/pictures",
                                            folder.path() / "set/linked");
  EXPECT_EQ(Dataset::open(folder.path() / "set", Labels::needed).size(), 2);
}

TEST(Dataset, NamesAFileThatHasGone) {
  const TemporaryFolder folder;
  touch(folder.path() / "a/1.jpg");
  touch(folder.path() / "b/1.jpg");
  const Dataset set = Dataset::open(folder.path(), Labels::needed);
  std::filesystem::remove(folder.path() / "b/1.jpg");
  std::vector<std::byte> bytes;
  EXPECT_THROW(set.read(1, bytes), pixels::ImageError);
  EXPECT_EQ(set.where(1), (folder.path() / "b/1.jpg").string());
}

}  // namespace
}  // namespace lockstep::runner
