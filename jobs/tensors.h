#pragma once

#include <ATen/core/Tensor.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lockstep::jobs {

/// Tensors under their names, in a fixed order; most often the views of one arena. Copies share the
/// memory. at() throws std::out_of_range with the name that is missing: an error of the program.
class Tensors {
 public:
  void add(std::string name, at::Tensor tensor) {
    index_.emplace(name, entries_.size());
    entries_.emplace_back(std::move(name), std::move(tensor));
  }
  const at::Tensor& at(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) throw std::out_of_range("no tensor named '" + name + "'");
    return entries_[found->second].second;
  }
  bool contains(const std::string& name) const { return index_.contains(name); }
  size_t size() const { return entries_.size(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

 private:
  std::vector<std::pair<std::string, at::Tensor>> entries_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace lockstep::jobs
