#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "runner/data/picture_cache.h"
#include "runner/dataset.h"
#include "runner/run_directory.h"
#include "runner/run_options.h"
#include "runner/world.h"

namespace lockstep::runner {

/// Opens a set on rank 0 alone and gives the others its index: a shared file system is walked once,
/// however many ranks there are. Called by all ranks; on rank 0 it throws as Dataset::open() does.
Dataset open_on_one_rank(const std::filesystem::path& place, Labels labels,
                         comm::Communicator& communicator);

/// The memory of each node for the pictures of a set, as `options.cache` has it; null where it is
/// off, and on a node that has no room for it, of which `report` is told. Called by all ranks.
std::unique_ptr<PictureCache> open_cache(const RunOptions& options, const Dataset& set,
                                         World& world,
                                         const std::function<void(const std::string&)>& report);

/// Keeps the indices of a run's sets beside it; of the second where there is one. Throws
/// WriteError.
void keep_indices(const RunDirectory& run, const Dataset& training_set,
                  const Dataset* validation_set);

/// Throws DataError (E210), with what is different, where a run's training set is not the one that
/// it began with: the data order is a function of the whole set. Where the pictures lie may change.
/// A run that has no index gets one.
void refuse_changed_set(const RunDirectory& run, const Dataset& training_set);

/// A warning, with what is different, where a run's validation set is not the one that it began
/// with, which may be on purpose; else empty. A run that has no index of it gets one.
std::string changed_validation_set(const RunDirectory& run, const Dataset& validation_set);

}  // namespace lockstep::runner
