#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep::runner {

/// Whether some job uses the key: tells another job's key from one that nobody knows.
bool is_contract_key(std::string_view key);

/// Of `names` the one most like `name`, if one is close enough to be meant.
std::string nearest(std::string_view name, const std::vector<std::string>& names);

/// What comes after the last dot.
std::string_view leaf_of(std::string_view key);

}  // namespace lockstep::runner
