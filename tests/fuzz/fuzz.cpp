// What reads bytes of others: a tar, the index of a set, safetensors, pictures. libFuzzer calls
// this with bytes that it makes up, the first of which says whose they are (tests/fuzz/run.sh).
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "comm/error.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/indexed.h"
#include "jobs/pixels/part.h"
#include "runner/data/set_index.h"
#include "runner/data/tar.h"
#include "runner/safetensors.h"

namespace lockstep {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void read_tar(std::span<const std::byte> bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  const runner::TarSource source{
      .bytes = size, .read = [&](int64_t offset, std::span<std::byte> target) {
        require(offset >= 0 && offset + static_cast<int64_t>(target.size()) <= size);
        std::memcpy(target.data(), bytes.data() + offset, target.size());
      }};
  runner::visit_tar(source, "fuzz.tar", [&](const runner::TarEntry& entry) {
    require(entry.bytes >= 0 && entry.offset + entry.bytes <= size);
    require(!entry.name.starts_with('/'));
  });
}

void read_index(std::span<const std::byte> bytes) {
  const auto index = runner::SetIndex::from_bytes({bytes.begin(), bytes.end()}, "fuzz");
  for (int64_t i = 0; i < index.size(); ++i) {
    require(index.name(i).size() <= bytes.size());
    require(static_cast<size_t>(index.label(i)) < index.classes.size());
    if (!index.shards.empty()) {
      require(static_cast<size_t>(index.place(i).shard) < index.shards.size());
    }
  }
}

void read_safetensors(std::span<const std::byte> bytes) {
  const auto file = runner::SafetensorsFile::parse({bytes.begin(), bytes.end()}, "fuzz");
  unsigned sum = 0;
  for (const runner::NamedArray& array : file.arrays()) {
    for (const std::byte byte : array.bytes) sum += static_cast<unsigned>(byte);
  }
  static volatile unsigned sink;
  sink = sum;
}

// Two boxes of it, also fast; small pictures, since large ones are sound and slow.
void read_picture(std::span<const std::byte> bytes) {
  const auto [width, height] = pixels::size_of(bytes);
  if (int64_t{width} * height > 1 << 16) return;
  const pixels::Box boxes[] = {{0, 0, (width + 1) / 2, height},
                               {width / 3, height / 3, width - width / 3, height - height / 3}};
  const int size = std::max(1, std::min(width, height) / 5);  // of each; one may come twice smaller
  for (const pixels::Parts& parts : {pixels::decode_parts(bytes, boxes, {&size, 1}),
                                     pixels::decode_parts_fast(bytes, boxes, {&size, 1})}) {
    for (const size_t i : {0u, 1u}) {
      const pixels::Part& part = parts.of(i);
      const pixels::Box place = part.place_of(boxes[i]);
      require(place.left >= 0 && place.left + place.width <= part.image.width);
      require(place.top >= 0 && place.top + place.height <= part.image.height);
    }
  }
  pixels::decode_indexed_png(bytes);
}

}  // namespace
}  // namespace lockstep

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lockstep;
  if (size == 0) return 0;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  constexpr void (*kReaders[])(std::span<const std::byte>) = {read_tar, read_index,
                                                              read_safetensors, read_picture};
  try {
    kReaders[data[0] % std::size(kReaders)](bytes);
  } catch (const DataError&) {
  } catch (const pixels::ImageError&) {
  }
  return 0;
}
