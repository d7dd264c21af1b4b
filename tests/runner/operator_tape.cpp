#include "tests/runner/operator_tape.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace lockstep::runner {
namespace {

// Lies below autograd, and LibTorch itself has nothing there.
constexpr c10::DispatchKey kKey = c10::DispatchKey::Fake;

struct Call {
  c10::OperatorHandle operation;
  std::vector<c10::IValue> inputs, outputs;
};

// Of the thread; autograd's backward on a processor is the same thread.
thread_local std::vector<Call>* recorded_calls = nullptr;

std::vector<at::Tensor> tensors_of(const std::vector<c10::IValue>& values) {
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& value : values) {
    if (value.isTensor()) tensors.push_back(value.toTensor());
    if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) tensors.push_back(tensor);
    }
  }
  std::erase_if(tensors, [](const at::Tensor& tensor) { return !tensor.defined(); });
  return tensors;
}

void record(const c10::OperatorHandle& operation, c10::DispatchKeySet keys,
            torch::jit::Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard once(kKey);
  const std::string& name = operation.schema().name();
  if (name == "aten::_local_scalar_dense" || name == "aten::equal" || name == "aten::nonzero") {
    throw std::logic_error("a number is asked of a tensor: " + name);
  }
  const auto first = stack->end() - static_cast<int64_t>(operation.schema().arguments().size());
  Call call{operation, {first, stack->end()}, {}};
  operation.redispatchBoxed(keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kKey),
                            stack);
  call.outputs.assign(stack->end() - static_cast<int64_t>(operation.schema().returns().size()),
                      stack->end());
  recorded_calls->push_back(std::move(call));
}

TORCH_LIBRARY_IMPL(_, Fake, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&record>());
}

class Tape final : public RecordedWork {
 public:
  explicit Tape(const std::function<void()>& work) {
    recorded_calls = &calls_;
    const c10::impl::IncludeDispatchKeyGuard recording(kKey);
    work();
    recorded_calls = nullptr;
  }

  void replay() override {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    for (const Call& call : calls_) {
      torch::jit::Stack stack = call.inputs;
      call.operation.callBoxed(&stack);
      const std::vector<at::Tensor> made = tensors_of(stack), recorded = tensors_of(call.outputs);
      for (size_t i = 0; i < made.size(); ++i) {
        if (!lies_in_inputs(call, made[i])) recorded[i].copy_(made[i]);
      }
    }
  }

 private:
  // A view, or what was written in place.
  static bool lies_in_inputs(const Call& call, const at::Tensor& output) {
    return std::ranges::any_of(tensors_of(call.inputs),
                               [&](const at::Tensor& input) { return input.is_alias_of(output); });
  }

  std::vector<Call> calls_;
};

}  // namespace

std::unique_ptr<RecordedWork> record_operators(const std::function<void()>& work) {
  return std::make_unique<Tape>(work);
}

}  // namespace lockstep::runner
