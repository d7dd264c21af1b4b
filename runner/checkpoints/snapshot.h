#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "runner/arenas.h"
#include "runner/checkpoints/checkpoint_store.h"

namespace lockstep::runner {

/// One copy of a run's arenas in memory: a file in this node's /dev/shm, which outlives the
/// process, or memory of the process alone. Holds a state whole or none at all: a copy that was
/// not finished, or whose bytes changed since, is none. One thread at a time.
class Snapshot {
 public:
  /// Arenas laid out as `layout`, in `file` with what an earlier process left there; without a name
  /// in memory of this process. Takes the memory at once: throws WriteError where there is not
  /// enough of it.
  Snapshot(const Arenas& layout, const std::filesystem::path& file);

  /// Copies; `from` may change after that. What in it is not a finite number, a running statistic
  /// too, as Arenas::describe() says it; empty: nothing. It holds nothing before seal().
  std::string copy(const Arenas& from);
  /// What was copied counts from now on, as a state that has come so far.
  void seal(const Progress& progress);
  /// How far the state has come that it holds; checks every byte.
  std::optional<Progress> verified() const;
  /// The same without a look at the bytes.
  std::optional<Progress> progress() const;
  void forget();

  const Arenas& arenas() const { return *arenas_; }
  int64_t bytes() const { return static_cast<int64_t>(memory_.get_deleter().bytes); }

 private:
  struct Header;
  struct Unmap {
    size_t bytes;
    void operator()(std::byte* memory) const;
  };

  Header& header() const;

  std::unique_ptr<std::byte, Unmap> memory_;
  std::optional<Arenas> arenas_;
  uint64_t layout_;
};

}  // namespace lockstep::runner
