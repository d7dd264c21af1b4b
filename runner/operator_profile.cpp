#include "runner/operator_profile.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string_view>

#include "jobs/models/product.h"
#include "runner/stopwatch.h"

namespace lockstep::runner {
namespace {

constexpr std::string_view kEngine = "autograd::engine::evaluate_function: ";

void wait_for(c10::Device device) {
  if (device.is_cpu()) return;
  c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

double bytes_of(const std::vector<c10::IValue>& values) {
  double bytes = 0.0;
  for (const c10::IValue& value : values) {
    if (value.isTensor() && value.toTensor().defined()) {
      bytes += static_cast<double>(value.toTensor().nbytes());
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) {
        if (tensor.defined()) bytes += static_cast<double>(tensor.nbytes());
      }
    }
  }
  return bytes;
}

// A view moves nothing, nor does memory that is only taken.
bool moves_nothing(std::string_view name, const std::vector<c10::IValue>& in,
                   const std::vector<c10::IValue>& out) {
  if (bytes_of(in) == 0.0) return true;
  if (name.ends_with('_') || in.empty() || out.empty()) return false;
  return in[0].isTensor() && out[0].isTensor() && in[0].toTensor().has_storage() &&
         out[0].toTensor().has_storage() && out[0].toTensor().is_alias_of(in[0].toTensor());
}

double elements(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().defined()
             ? static_cast<double>(value.toTensor().numel())
             : 0.0;
}

// Two for each multiplication and addition that makes so many results of a convolution.
double convolution_operations(double results, const at::Tensor& weight) {
  return 2.0 * results * static_cast<double>(weight.numel() / std::max<int64_t>(1, weight.size(0)));
}

// [.., rows, inner] times [.., inner, columns].
double product_operations(const c10::IValue& left, const c10::IValue& right) {
  return 2.0 * elements(left) * static_cast<double>(right.toTensor().size(-1));
}

// Scores and sum of values: two products over [batch, heads, queries, keys, dim].
double attention_operations(const c10::IValue& query, const c10::IValue& key) {
  return 4.0 * elements(query) * static_cast<double>(key.toTensor().size(2));
}

// Of the operators in which products are made; others count as nothing.
double operations_of(std::string_view name, const std::vector<c10::IValue>& in,
                     const std::vector<c10::IValue>& out) {
  if (name == "aten::mm" || name == "aten::bmm" || name == "lockstep::product")
    return product_operations(in[0], in[1]);
  if (name == "aten::addmm" || name == "aten::baddbmm" || name == "aten::baddbmm_")
    return product_operations(in[1], in[2]);
  if (name == "aten::convolution_backward") {  // grad, input, weight, ..., which gradients
    const auto wanted = in.back().toBoolList();
    const double each = convolution_operations(elements(in[0]), in[2].toTensor());
    return each * (static_cast<double>(wanted[0]) + static_cast<double>(wanted[1]));
  }
  if (name == "aten::mkldnn_convolution" || name == "aten::cudnn_convolution") {
    return convolution_operations(elements(out[0]), in[1].toTensor());
  }
  if (name.find("attention") == name.npos || in.size() < 3) return 0.0;
  if (name.ends_with("_backward"))
    return 2.5 * attention_operations(in[1], in[2]);  // five products
  return attention_operations(in[0], in[1]);
}

struct Call {
  uint64_t thread;
  double begin, end;
  std::string name;
  double operations, bytes;
};

struct Begun final : at::ObserverContext {
  double at = 0.0;
  std::vector<c10::IValue> inputs;
};

// Begun ones before those that they call; those of one thread together.
bool earlier(const Call& a, const Call& b) {
  if (a.thread != b.thread) return a.thread < b.thread;
  return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
}

}  // namespace

struct OperatorProfile::Observer {
  explicit Observer(c10::Device where) : device(where) {
    current = this;
    handle = at::addGlobalCallback(
        at::RecordFunctionCallback(&start, &end)
            .needsInputs(true)
            .needsOutputs(true)
            .scopes({at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE}));
  }
  ~Observer() {
    at::removeCallback(handle);
    current = nullptr;
  }

  static std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
    auto begun = std::make_unique<Begun>();
    begun->inputs.assign(function.inputs().begin(), function.inputs().end());
    wait_for(current->device);
    begun->at = current->clock.seconds();
    return begun;
  }

  static void end(const at::RecordFunction& function, at::ObserverContext* context) {
    wait_for(current->device);
    const double now = current->clock.seconds();
    const auto& begun = *static_cast<Begun*>(context);
    const std::vector<c10::IValue>& out = function.outputs();
    const std::string name = function.name();
    const double moved =
        moves_nothing(name, begun.inputs, out) ? 0.0 : bytes_of(begun.inputs) + bytes_of(out);
    Call call{.thread = at::RecordFunction::currentThreadId(),
              .begin = begun.at,
              .end = now,
              .name = name.substr(name.starts_with(kEngine) ? kEngine.size() : 0),
              .operations = operations_of(name, begun.inputs, out),
              .bytes = moved};
    const std::lock_guard lock(current->mutex);
    current->calls.push_back(std::move(call));
  }

  static Observer* current;  // RecordFunction's callbacks carry nothing of their own

  c10::Device device;
  Stopwatch clock;
  mutable std::mutex mutex;
  std::vector<Call> calls;
  at::CallbackHandle handle = 0;
};

OperatorProfile::Observer* OperatorProfile::Observer::current = nullptr;

OperatorProfile::OperatorProfile(c10::Device device)
    : observer_(std::make_unique<Observer>(device)) {}
OperatorProfile::~OperatorProfile() = default;

std::vector<OperatorCost> OperatorProfile::costs() const {
  std::vector<Call> calls;
  {
    const std::lock_guard lock(observer_->mutex);
    calls = observer_->calls;
  }
  std::ranges::sort(calls, earlier);
  std::map<std::string, OperatorCost> by_name;
  std::vector<const Call*> open;  // each called by the one before
  for (const Call& call : calls) {
    while (!open.empty() && (open.back()->thread != call.thread || open.back()->end <= call.begin))
      open.pop_back();
    const double seconds = call.end - call.begin;
    if (!open.empty()) by_name[open.back()->name].seconds -= seconds;
    OperatorCost& cost = by_name[call.name];
    cost.calls += 1;
    cost.seconds += seconds;
    cost.operations += call.operations;
    cost.bytes += call.bytes;
    open.push_back(&call);
  }
  std::vector<OperatorCost> costs;
  for (auto& [name, cost] : by_name) {
    cost.name = name;
    costs.push_back(cost);
  }
  std::ranges::sort(costs, std::greater{}, &OperatorCost::seconds);
  return costs;
}

MachinePeaks measure_peaks(c10::Device device, bool bf16) {
  constexpr int64_t kSide = 1536, kArray = int64_t{64} << 20, kTimes = 4;
  const auto options = at::TensorOptions(device).dtype(at::kFloat);
  const auto least_seconds = [device](auto&& work) {
    double least = 1e30;
    for (int64_t i = 0; i < kTimes; ++i) {
      wait_for(device);
      const Stopwatch watch;
      work();
      wait_for(device);
      least = std::min(least, watch.seconds());
    }
    return least;
  };
  const auto type = bf16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor a = at::rand({kSide, kSide}, options).to(type), b = a.clone();
  at::Tensor product = a.clone();
  at::Tensor from = at::zeros({kArray}, options), to = at::zeros({kArray}, options);
  constexpr double kProduct = 2.0 * kSide * kSide * kSide;
  const auto multiply = [&] {
    if (jobs::suits_products(a)) return jobs::product(product, a, b);
    at::mm_out(product, a, b);
  };
  return {.operations_per_second = kProduct / least_seconds(multiply),
          .bytes_per_second =
              2.0 * static_cast<double>(from.nbytes()) / least_seconds([&] { to.copy_(from); })};
}

}  // namespace lockstep::runner
