#include "runner/data/set_index.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "comm/error.h"
#include "runner/safetensors.h"

namespace lockstep::runner {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// A run of digits without its leading zeros.
std::string_view number_at(std::string_view text, size_t begin, size_t& end) {
  end = begin;
  while (end < text.size() && is_digit(text[end])) ++end;
  while (begin + 1 < end && text[begin] == '0') ++begin;
  return text.substr(begin, end - begin);
}

// Names cannot hold a zero byte: it ends each.
std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) (all += text) += '\0';
  return all;
}

std::vector<std::string> split(std::span<const std::byte> bytes) {
  std::vector<std::string> texts;
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\0', begin), all.size());
    texts.emplace_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  return texts;
}

NamedArray text_array(const char* name, const std::string& text) {
  return {name, "U8", {static_cast<int64_t>(text.size())}, std::as_bytes(std::span(text))};
}

template <typename T>
NamedArray number_array(const char* name, const std::vector<T>& numbers,
                        std::vector<int64_t> shape) {
  return {name, "I64", std::move(shape), std::as_bytes(std::span(numbers))};
}

// Those of an index, whose every array is asked for and measured before it is believed.
class Arrays {
 public:
  Arrays(std::vector<std::byte> bytes, std::filesystem::path from)
      : from_(std::move(from)), file_(SafetensorsFile::parse(std::move(bytes), from_)) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw DataError("E206", fmt::format("'{}' is not the index of a set: {}", from_.string(), why),
                    "remove it and it is made again, or pack the set again");
  }

  std::span<const std::byte> bytes(const char* name) const {
    const NamedArray* array = file_.find(name);
    if (array == nullptr) refuse(fmt::format("it has no '{}'", name));
    return array->bytes;
  }

  template <typename T>
  std::vector<T> numbers(const char* name, size_t count) const {
    const std::span<const std::byte> raw = bytes(name);
    if (raw.size() != count * sizeof(T)) refuse(fmt::format("'{}' has the wrong length", name));
    std::vector<T> values(count);
    std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }

 private:
  std::filesystem::path from_;
  SafetensorsFile file_;
};

constexpr const char* kClasses = "classes";
constexpr const char* kShards = "shards";
constexpr const char* kNames = "names";
constexpr const char* kEnds = "name_ends";
constexpr const char* kLabels = "labels";
constexpr const char* kPlaces = "places";
static_assert(sizeof(SetIndex::Place) == 4 * sizeof(int64_t));

std::string count_of(int64_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      size_t a_end = 0, b_end = 0;
      const std::string_view x = number_at(a, i, a_end);
      const std::string_view y = number_at(b, j, b_end);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      i = a_end;
      j = b_end;
    } else {
      const char x = lower(a[i++]), y = lower(b[j++]);
      if (x != y) return x < y;
    }
  }
  if (i < a.size() || j < b.size()) return j < b.size();
  return a < b;
}

void SetIndex::add(std::string_view name, int64_t label) {
  names_ += name;
  names_ends_.push_back(static_cast<int64_t>(names_.size()));
  labels_.push_back(label);
}

void SetIndex::add(std::string_view name, int64_t label, const Place& place) {
  add(name, label);
  places_.push_back(place);
}

std::string_view SetIndex::name(int64_t sample) const {
  const auto i = static_cast<size_t>(sample);
  const auto begin = static_cast<size_t>(i == 0 ? 0 : names_ends_[i - 1]);
  return std::string_view(names_).substr(begin, static_cast<size_t>(names_ends_[i]) - begin);
}

uint64_t SetIndex::hash() const {
  const std::string all_classes = joined(classes);
  uint64_t hash = XXH3_64bits(all_classes.data(), all_classes.size());
  hash = XXH3_64bits_withSeed(names_.data(), names_.size(), hash);
  hash =
      XXH3_64bits_withSeed(names_ends_.data(), names_ends_.size() * sizeof(names_ends_[0]), hash);
  return XXH3_64bits_withSeed(labels_.data(), labels_.size() * sizeof(labels_[0]), hash);
}

std::vector<std::byte> SetIndex::to_bytes() const {
  const std::string all_classes = joined(classes), all_shards = joined(shards);
  std::vector<NamedArray> arrays{text_array(kClasses, all_classes), text_array(kShards, all_shards),
                                 text_array(kNames, names_),
                                 number_array(kEnds, names_ends_, {size()}),
                                 number_array(kLabels, labels_, {size()})};
  if (!shards.empty()) arrays.push_back(number_array(kPlaces, places_, {size(), 4}));
  return safetensors_bytes(arrays);
}

SetIndex SetIndex::from_bytes(std::vector<std::byte> bytes, const std::filesystem::path& from) {
  const Arrays arrays(std::move(bytes), from);
  SetIndex index;
  index.classes = split(arrays.bytes(kClasses));
  index.shards = split(arrays.bytes(kShards));
  const std::span<const std::byte> names = arrays.bytes(kNames);
  index.names_.assign(reinterpret_cast<const char*>(names.data()), names.size());
  const size_t count = arrays.bytes(kLabels).size() / sizeof(int64_t);
  index.labels_ = arrays.numbers<int64_t>(kLabels, count);
  index.names_ends_ = arrays.numbers<int64_t>(kEnds, count);
  int64_t begin = 0;
  for (size_t i = 0; i < count; ++i) {
    const int64_t end = index.names_ends_[i];
    if (end < begin || end > static_cast<int64_t>(names.size())) arrays.refuse("a name has no end");
    begin = end;
    if (index.labels_[i] < 0 || index.labels_[i] >= static_cast<int64_t>(index.classes.size())) {
      arrays.refuse("a picture is of a class that is not there");
    }
  }
  if (index.shards.empty()) return index;
  for (const std::string& shard : index.shards) {
    if (shard.find('/') != std::string::npos) arrays.refuse("a shard lies elsewhere");
  }
  index.places_ = arrays.numbers<Place>(kPlaces, count);
  for (const Place& place : index.places_) {
    if (place.shard < 0 || place.shard >= static_cast<int64_t>(index.shards.size()) ||
        place.offset < 0 || place.bytes < 0 || place.offset > INT64_MAX - place.bytes) {
      arrays.refuse("a picture lies in no shard");
    }
  }
  return index;
}

SetIndex sorted_index(std::vector<FoundPicture> pictures, bool in_shards) {
  const auto less = [](const std::string& a, const std::string& b) { return natural_less(a, b); };
  std::map<std::string, std::vector<const FoundPicture*>, decltype(less)> by_class(less);
  for (const FoundPicture& picture : pictures) by_class[picture.label].push_back(&picture);
  SetIndex index;
  for (auto& [label, members] : by_class) {
    std::ranges::stable_sort(members, less, &FoundPicture::name);
    const auto number = static_cast<int64_t>(index.classes.size());
    index.classes.push_back(label);
    for (const FoundPicture* picture : members) {
      if (in_shards) {
        index.add(picture->name, number, picture->place);
      } else {
        index.add(picture->name, number);
      }
    }
  }
  return index;
}

std::string difference(const SetIndex& before, const SetIndex& now) {
  if (before.hash() == now.hash()) return {};
  const auto name_of_class = [](const SetIndex& set, int64_t sample) -> const std::string& {
    return set.classes[static_cast<size_t>(set.label(sample))];
  };
  std::unordered_map<std::string_view, int64_t> places;
  for (int64_t i = 0; i < before.size(); ++i) places.emplace(before.name(i), i);
  int64_t added = 0, relabelled = 0;
  std::string first_added, first_relabelled;
  for (int64_t i = 0; i < now.size(); ++i) {
    const auto found = places.find(now.name(i));
    if (found == places.end()) {
      if (added++ == 0) first_added = now.name(i);
    } else {
      if (name_of_class(before, found->second) != name_of_class(now, i) && relabelled++ == 0) {
        first_relabelled = now.name(i);
      }
      places.erase(found);
    }
  }
  std::vector<std::string_view> gone;
  for (const auto& [name, place] : places) gone.push_back(name);
  std::string text = fmt::format("it had {} and has {}", count_of(before.size(), "picture"),
                                 count_of(now.size(), "picture"));
  if (!gone.empty()) {
    text += fmt::format("; {} gone, as '{}'", gone.size(), std::ranges::min(gone));
  }
  if (added > 0) text += fmt::format("; {} new, as '{}'", added, first_added);
  if (relabelled > 0) {
    text += fmt::format("; {} of another class, as '{}'", relabelled, first_relabelled);
  }
  if (gone.empty() && added == 0 && relabelled == 0) text += "; names stand more than once";
  return text;
}

}  // namespace lockstep::runner
