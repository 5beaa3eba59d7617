// Custom autograd functions whose bodies are Rust closures. See shim.h for the conventions.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Generator.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/engine.h>

#include <algorithm>

namespace dfx {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr at::DeviceType kDevices[] = {at::kCPU, at::kCUDA};

// Autocast as it was in forward, without its cache of cast weights: the forward pass of a checkpoint runs without
// gradients, and a weight that was cast there and cached would be used later without its history.
class AutocastGuard {
 public:
  explicit AutocastGuard(const bool (&enabled)[2]) : cache_(at::autocast::is_autocast_cache_enabled()) {
    for (int i = 0; i < 2; ++i) {
      was_[i] = at::autocast::is_autocast_enabled(kDevices[i]);
      at::autocast::set_autocast_enabled(kDevices[i], enabled[i]);
    }
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~AutocastGuard() {
    for (int i = 0; i < 2; ++i) at::autocast::set_autocast_enabled(kDevices[i], was_[i]);
    at::autocast::set_autocast_cache_enabled(cache_);
  }

 private:
  bool was_[2];
  bool cache_;
};

// The random state that a region of the graph starts from: the CPU's, and that of one CUDA device if it is used.
class RandomState {
 public:
  explicit RandomState(const variable_list& inputs) {
    add(at::Device(at::kCPU));
    for (const auto& t : inputs) {
      if (t.defined() && t.is_cuda()) {
        add(t.device());
        return;
      }
    }
  }
  void restore() const {
    for (const auto& [generator, state] : states_) {
      auto g = generator;
      std::lock_guard<std::mutex> lock(g.mutex());
      g.set_state(state);
    }
  }

 private:
  void add(at::Device device) {
    at::Generator g = at::globalContext().defaultGenerator(device);
    std::lock_guard<std::mutex> lock(g.mutex());
    states_.emplace_back(g, g.get_state());
  }
  std::vector<std::pair<at::Generator, at::Tensor>> states_;
};

// What backward needs to run a region again.
struct Region final : torch::CustomClassHolder {
  Region(Closure closure, const variable_list& inputs) : run(closure), random(inputs) {
    for (int i = 0; i < 2; ++i) autocast[i] = at::autocast::is_autocast_enabled(kDevices[i]);
  }
  Owned run;
  RandomState random;
  bool autocast[2];
};

// Computes a region without keeping its activations, and again in backward. The second time its gradients flow into
// `.grad` of the parameters that the closure holds through their own AccumulateGrad nodes (hooks included), and into
// detached inputs, which are handed on.
struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static variable_list forward(AutogradContext* ctx, at::TensorList list, c10::intrusive_ptr<Region> region) {
    const variable_list inputs = list.vec();
    ctx->save_for_backward(inputs);
    ctx->set_materialize_grads(false);
    ctx->saved_data["region"] = at::IValue::make_capsule(region);
    AutocastGuard autocast(region->autocast);
    return region->run(inputs, 1, "activation checkpoint");
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    TORCH_CHECK(
        torch::autograd::Engine::get_default_engine().is_checkpoint_valid(),
        "gradients of chosen tensors (autograd.grad) cannot be taken through an activation checkpoint: run this part "
        "of the network without checkpointing");
    auto region = c10::static_intrusive_pointer_cast<Region>(ctx->saved_data["region"].toCapsule());
    const auto saved = ctx->get_saved_variables();
    variable_list result(saved.size() + 1); // the last stands for the region
    if (!grads[0].defined()) return result;

    variable_list inputs;
    for (const auto& t : saved) {
      inputs.push_back(t.defined() ? t.detach().set_requires_grad(t.requires_grad()) : t);
    }
    variable_list outputs;
    {
      c10::AutoGradMode with_grad(true);
      AutocastGuard autocast(region->autocast);
      RandomState now(saved);
      region->random.restore();
      try {
        outputs = region->run(inputs, 1, "activation checkpoint");
      } catch (...) {
        now.restore();
        throw;
      }
      now.restore();
    }
    torch::autograd::backward({outputs[0]}, {grads[0]});
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].defined() && inputs[i].requires_grad()) result[i] = inputs[i].grad();
    }
    return result;
  }
};

struct Backward final : torch::CustomClassHolder {
  explicit Backward(Closure closure) : run(closure) {}
  Owned run;
};

// An output that was computed elsewhere, with a Rust closure as its backward.
struct Custom : torch::autograd::Function<Custom> {
  static at::Tensor forward(
      AutogradContext* ctx, at::Tensor /*input*/, const at::Tensor* output, c10::intrusive_ptr<Backward> backward) {
    ctx->saved_data["backward"] = at::IValue::make_capsule(backward);
    return *output;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto closure = c10::static_intrusive_pointer_cast<Backward>(ctx->saved_data["backward"].toCapsule());
    variable_list result = closure->run(grads, 1, "backward of a custom function");
    result.resize(3);
    return result;
  }
};

} // namespace
} // namespace dfx

extern "C" {

char* dfx_checkpoint(const dfx::Handle* inputs, size_t n, dfx::Closure closure, dfx::Handle* out) {
  return dfx::guarded([&] {
    auto list = dfx::gather(inputs, n);
    auto region = c10::make_intrusive<dfx::Region>(closure, list);
    const bool needed = c10::GradMode::is_enabled() &&
        std::any_of(list.begin(), list.end(), [](const at::Tensor& t) { return t.requires_grad(); });
    auto result = needed ? dfx::Checkpoint::apply(at::TensorList(list), region) : region->run(list, 1, "activation checkpoint");
    *out = new at::Tensor(result.at(0));
  });
}

char* dfx_custom(dfx::Handle input, dfx::Handle output, dfx::Closure closure, dfx::Handle* out) {
  return dfx::guarded([&] {
    auto backward = c10::make_intrusive<dfx::Backward>(closure);
    const at::Tensor* value = output;
    *out = new at::Tensor(dfx::Custom::apply(*input, value, backward));
  });
}

} // extern "C"
