#include "runner/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "comm/error.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

void write_raw(const std::filesystem::path& file, const std::string& header, size_t data_bytes) {
  std::ofstream stream(file, std::ios::binary);
  const uint64_t length = header.size();
  stream.write(reinterpret_cast<const char*>(&length), sizeof(length));
  stream << header << std::string(data_bytes, 'x');
}

TEST(Safetensors, ReadsBackWhatWasWritten) {
  const TemporaryFolder folder;
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const int64_t count = 9;
  const auto file = folder.path() / "t.safetensors";
  write_safetensors(file,
                    {{"a", "F32", {2, 3}, std::as_bytes(std::span(values))},
                     {"empty", "F32", {0, 4}, {}},
                     {"n", "I64", {}, std::as_bytes(std::span(&count, 1))}},
                    {{"format", "pt"}});
  const SafetensorsFile read = SafetensorsFile::read(file);
  ASSERT_EQ(read.arrays().size(), 3u);
  EXPECT_EQ(read.find("a")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(read.find("a")->bytes.data(), values.data(), 24), 0);
  EXPECT_EQ(read.find("n")->shape.size(), 0u);
  EXPECT_EQ(read.find("b"), nullptr);
}

TEST(Safetensors, RefusesHostileFiles) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "t.safetensors";
  const auto entry = [](const char* type, const char* shape, const char* offsets) {
    return std::string(R"({"a":{"dtype":")") + type + R"(","shape":)" + shape +
           R"(,"data_offsets":)" + offsets + "}}";
  };
  write_raw(file, entry("F32", "[4]", "[0,16]"), 16);
  EXPECT_NO_THROW(SafetensorsFile::read(file));
  for (const std::string& header :
       {std::string(), std::string("{"), std::string("[1]"), std::string(R"({"a":1})"),
        entry("F32", "[4]", "[0,17]"), entry("F32", "[4]", "[16,0]"),
        entry("F32", "[4]", "[-16,0]"), entry("F32", "[5]", "[0,16]"),
        entry("F32", "[-4]", "[0,16]"), entry("F9", "[4]", "[0,16]"),
        entry("F32", "[4611686018427387904,4]", "[0,16]"), entry("F32", "[4]", "[0]"),
        entry("F32", "[4]", "[0,99999999999999]"), entry("F32", "\"4\"", "[0,16]")}) {
    write_raw(file, header, 16);
    EXPECT_THROW(SafetensorsFile::read(file), DataError) << header;
  }
  std::ofstream(file, std::ios::binary) << std::string(8, '\xff');
  EXPECT_THROW(SafetensorsFile::read(file), DataError);
  EXPECT_THROW(SafetensorsFile::read(folder.path() / "absent"), DataError);
}

}  // namespace
}  // namespace lockstep::runner
