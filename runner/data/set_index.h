#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::runner {

/// What a set of pictures consists of: their names and labels in the set's order, the classes in
/// natural order, and where tar shards hold them. One rank makes it, the others get its bytes; it
/// is kept beside the run. A few flat arrays, so that a million pictures cost no million
/// allocations. Const after making; any thread may read.
class SetIndex {
 public:
  /// Where the bytes of a picture lie in a shard. `hash` is their XXH3-64, 0 where nobody knows it.
  struct Place {
    int64_t shard = 0;
    int64_t offset = 0;
    int64_t bytes = 0;
    uint64_t hash = 0;
  };

  std::vector<std::string> classes;
  std::vector<std::string> shards;  // file names; empty where each picture is a file of its own

  /// `name` is relative to the set's folder where it is a path.
  void add(std::string_view name, int64_t label);
  void add(std::string_view name, int64_t label, const Place& place);

  int64_t size() const { return static_cast<int64_t>(labels_.size()); }
  std::string_view name(int64_t sample) const;
  int64_t label(int64_t sample) const { return labels_[static_cast<size_t>(sample)]; }
  const Place& place(int64_t sample) const { return places_[static_cast<size_t>(sample)]; }

  /// Of classes, names and labels: what decides the data order, wherever the bytes lie.
  uint64_t hash() const;

  /// As the bytes of a safetensors file, and back. Any bytes are safe to read: DataError (E206)
  /// where they are no index; `from` names them in the message.
  std::vector<std::byte> to_bytes() const;
  static SetIndex from_bytes(std::vector<std::byte> bytes, const std::filesystem::path& from);

 private:
  std::string names_;                // all of them, one after the other
  std::vector<int64_t> names_ends_;  // where each ends
  std::vector<int64_t> labels_;
  std::vector<Place> places_;  // of sets in shards
};

/// Puts the pictures of one class and the classes themselves in order: a set of (class, name, ...)
/// as it is found, in any order.
struct FoundPicture {
  std::string name;
  std::string label;
  SetIndex::Place place;
};
/// Classes and the names within each in natural order: the same pictures give the same order from
/// folders, lists and shards.
SetIndex sorted_index(std::vector<FoundPicture> pictures, bool in_shards);

/// How `now` differs from `before`, in one line with an example of a picture; empty where both have
/// the same pictures, labels and classes.
std::string difference(const SetIndex& before, const SetIndex& now);

/// Digits compared as numbers, letters without case (timm's natural_key).
bool natural_less(std::string_view a, std::string_view b);

}  // namespace lockstep::runner
