#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace lockstep::runner {

/// --set KEY=VALUE, as often as wanted.
inline void add_overrides(CLI::App& verb, std::vector<std::string>& overrides) {
  verb.add_option("--set", overrides,
                  "override a key of the recipe, as --set batch.size=256; repeatable")
      ->type_name("KEY=VALUE")
      ->type_size(1)
      ->allow_extra_args(false);
}

/// A number of pictures in place of the data.
inline void add_samples(CLI::App& verb, int64_t& samples) {
  verb.add_option("--samples", samples, "plan for a training set of N pictures, without any data")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
}

}  // namespace lockstep::runner
