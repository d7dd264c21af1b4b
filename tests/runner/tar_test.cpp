#include "runner/data/tar.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "comm/error.h"
#include "runner/data/set_index.h"
#include "runner/safetensors.h"

namespace lockstep::runner {
namespace {

// A tar in memory.
struct Tar {
  std::string bytes;

  void add(const std::string& name, const std::string& contents) {
    bytes += tar_header(name, static_cast<int64_t>(contents.size())) + contents;
    bytes.append(static_cast<size_t>(tar_padding(static_cast<int64_t>(contents.size()))), '\0');
  }
  void end() { bytes.append(kTarEnd, '\0'); }

  std::vector<TarEntry> entries() const {
    const TarSource source{.bytes = static_cast<int64_t>(bytes.size()),
                           .read = [this](int64_t offset, std::span<std::byte> target) {
                             ASSERT_GE(offset, 0);
                             ASSERT_LE(static_cast<size_t>(offset) + target.size(), bytes.size());
                             std::memcpy(target.data(), bytes.data() + offset, target.size());
                           }};
    std::vector<TarEntry> entries;
    visit_tar(source, "t.tar", [&](const TarEntry& entry) { entries.push_back(entry); });
    return entries;
  }

  std::string refusal() const {
    try {
      entries();
    } catch (const DataError& error) {
      EXPECT_EQ(error.id(), "E211");
      return error.what();
    }
    return {};
  }
};

Tar two_files() {
  Tar tar;
  tar.add("a/1.jpg", "first");
  tar.add("a/2.jpg", std::string(513, 'x'));
  tar.end();
  return tar;
}

TEST(Tar, FindsWhatWasWritten) {
  const Tar tar = two_files();
  const std::vector<TarEntry> entries = tar.entries();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].name, "a/1.jpg");
  EXPECT_EQ(tar.bytes.substr(static_cast<size_t>(entries[0].offset), 5), "first");
  EXPECT_EQ(entries[1].bytes, 513);
}

TEST(Tar, SaysWhatIsWrong) {
  Tar cut = two_files();
  cut.bytes.resize(1500);
  EXPECT_NE(cut.refusal().find("cut short"), std::string::npos);

  Tar flipped = two_files();
  flipped.bytes[1024 + 3] ^= 1;  // in the second header
  EXPECT_NE(flipped.refusal().find("a header is damaged"), std::string::npos);
  EXPECT_NE(flipped.refusal().find("at byte 1024"), std::string::npos);

  for (const char* name : {"../a.jpg", "a/../../b.jpg", "/etc/a.jpg", ".."}) {
    Tar outside;
    outside.add(name, "x");
    outside.end();
    EXPECT_NE(outside.refusal().find("points out of the folder"), std::string::npos) << name;
  }
}

// The sanitizers of a debugging build see what is read beside.
TEST(Tar, AnyBytesAreReadOrRefused) {
  std::mt19937 generator(1);
  for (int round = 0; round < 20000; ++round) {
    Tar tar = two_files();
    for (unsigned flips = 1 + generator() % 4; flips > 0; --flips) {
      // Mostly in the headers, where each byte means something.
      const size_t place = generator() % 3 == 0 ? generator() % tar.bytes.size()
                                                : (generator() % 2) * 1024 + generator() % 512;
      tar.bytes[place] = static_cast<char>(generator());
    }
    if (generator() % 4 == 0) tar.bytes.resize(generator() % tar.bytes.size());
    for (const size_t header :
         {size_t{0}, size_t{1024}}) {  // a right sum lets the rest be looked at
      if (tar.bytes.size() < header + 512 || generator() % 4 == 0) continue;
      uint32_t sum = 0;
      std::fill_n(tar.bytes.begin() + static_cast<std::ptrdiff_t>(header) + 148, 8, ' ');
      for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(tar.bytes[header + i]);
      std::snprintf(tar.bytes.data() + header + 148, 8, "%06o", sum);
    }
    try {
      for (const TarEntry& entry : tar.entries()) {
        ASSERT_GE(entry.bytes, 0);
        ASSERT_LE(entry.offset + entry.bytes, static_cast<int64_t>(tar.bytes.size()));
      }
    } catch (const DataError&) {
    }
  }
}

SetIndex small_index() {
  SetIndex index;
  index.classes = {"n1", "n2"};
  index.shards = {"a.tar"};
  index.add("n1/1.jpg", 0, {.shard = 0, .offset = 512, .bytes = 7, .hash = 9});
  index.add("n2/1.jpg", 1, {.shard = 0, .offset = 1536, .bytes = 8, .hash = 10});
  return index;
}

TEST(SetIndex, ComesBackFromItsBytes) {
  const SetIndex index = small_index();
  const SetIndex back = SetIndex::from_bytes(index.to_bytes(), "index");
  EXPECT_EQ(back.classes, index.classes);
  EXPECT_EQ(back.name(1), "n2/1.jpg");
  EXPECT_EQ(back.place(1).offset, 1536);
  EXPECT_EQ(back.hash(), index.hash());
  EXPECT_EQ(difference(index, back), "");
}

TEST(SetIndex, SaysWhatChanged) {
  const SetIndex index = small_index();
  SetIndex other;
  other.classes = {"n1", "n2"};
  other.add("n1/0.jpg", 0);
  other.add("n1/1.jpg", 1);
  const std::string change = difference(index, other);
  EXPECT_NE(change.find("1 gone, as 'n2/1.jpg'"), std::string::npos) << change;
  EXPECT_NE(change.find("1 new, as 'n1/0.jpg'"), std::string::npos) << change;
  EXPECT_NE(change.find("1 of another class, as 'n1/1.jpg'"), std::string::npos) << change;
}

TEST(SetIndex, AnyBytesAreReadOrRefused) {
  const std::vector<std::byte> sound = small_index().to_bytes();
  std::mt19937 generator(2);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes = sound;
    for (unsigned flips = 1 + generator() % 4; flips > 0; --flips) {
      bytes[generator() % bytes.size()] = static_cast<std::byte>(generator());
    }
    if (generator() % 4 == 0) bytes.resize(generator() % bytes.size());
    try {
      const SetIndex index = SetIndex::from_bytes(bytes, "index");
      for (int64_t i = 0; i < index.size(); ++i) {
        ASSERT_LE(index.name(i).size(), sound.size());
        ASSERT_LT(index.label(i), static_cast<int64_t>(index.classes.size()));
        if (index.shards.empty()) continue;
        ASSERT_GE(index.place(i).bytes, 0);
      }
    } catch (const DataError& error) {
      ASSERT_EQ(error.id(), "E206");
    }
  }
}

}  // namespace
}  // namespace lockstep::runner
