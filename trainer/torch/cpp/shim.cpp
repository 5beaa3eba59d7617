// Settings, gradients and their hooks, and the fused kernels. See shim.h for the conventions.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/AutogradState.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace dfx {

void check_callback(char* message, const char* where) {
  if (message == nullptr) return;
  std::string text(message);
  free(message);
  TORCH_CHECK(false, where, ": ", text);
}

std::vector<at::Tensor> Owned::operator()(
    const std::vector<at::Tensor>& inputs, size_t n_outputs, const char* where) const {
  std::vector<Handle> in;
  in.reserve(inputs.size());
  // Handles of their own: the closure's tensors may live longer than this call.
  for (const auto& t : inputs) in.push_back(new at::Tensor(t));
  std::vector<Handle> out(n_outputs, nullptr);
  char* message = closure_.call(closure_.data, in.data(), in.size(), out.data(), out.size());
  std::vector<at::Tensor> result;
  for (Handle h : out) {
    if (h == nullptr) continue;
    result.push_back(std::move(*h));
    delete h;
  }
  check_callback(message, where);
  return result;
}

namespace {

struct GradHook final : torch::autograd::PostAccumulateGradHook {
  explicit GradHook(Closure closure) : closure(closure) {}
  void operator()(const at::Tensor& parameter) override {
    // The hook may write to gradients even when the graph of the gradients is being built.
    c10::AutoGradMode no_grad(false);
    closure({parameter}, 0, "gradient hook");
  }
  Owned closure;
};

} // namespace
} // namespace dfx

using dfx::guarded;
using dfx::Handle;

extern "C" {

void dfx_free_message(char* message) { free(message); }

char* dfx_new_message(const char* text, size_t length) { return strndup(text, length); }

// ---- settings ------------------------------------------------------------------------------------------------------

char* dfx_set_deterministic(bool on) {
  return guarded([&] {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(on, /*warn_only=*/false);
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(on);
    context.setBenchmarkCuDNN(!on);
  });
}

// device: at::DeviceType. Returns what was set before in `was`.
char* dfx_autocast_state(int device, bool* enabled, bool* cache) {
  return guarded([&] {
    *enabled = at::autocast::is_autocast_enabled(static_cast<at::DeviceType>(device));
    *cache = at::autocast::is_autocast_cache_enabled();
  });
}

char* dfx_autocast_enter(int device, bool enabled, bool cache) {
  return guarded([&] {
    auto type = static_cast<at::DeviceType>(device);
    at::autocast::set_autocast_dtype(type, at::kBFloat16);
    at::autocast::set_autocast_enabled(type, enabled);
    at::autocast::set_autocast_cache_enabled(cache);
    at::autocast::increment_nesting();
  });
}

char* dfx_autocast_leave(int device, bool enabled, bool cache) {
  return guarded([&] {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(static_cast<at::DeviceType>(device), enabled);
    at::autocast::set_autocast_cache_enabled(cache);
  });
}

// Whether a GPU's compute capability is 8.0 or higher, which is what cuDNN's bfloat16 convolutions need.
char* dfx_cuda_multiplies_bfloat16(int index, bool* native) {
  return guarded([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    c10::DeviceGuard guard(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)));
    *native = at::detail::getCUDAHooks().supportsBFloat16ConvolutionWithCuDNNv8();
  });
}

// Whether AccumulateGrad copies a gradient whose strides differ from its parameter's before it becomes `.grad`.
void dfx_set_grad_layout_enforcement(bool on) {
  c10::AutogradState::get_tls_state().set_grad_layout_enforcement_enabled(on);
}

// ---- gradients -----------------------------------------------------------------------------------------------------

// Sets `.grad`; a null `grad` makes it undefined.
char* dfx_set_grad(Handle parameter, Handle grad) {
  return guarded([&] { parameter->mutable_grad() = grad ? *grad : at::Tensor(); });
}

// Moves `.grad` out, leaving it undefined. `out` becomes null if there was none.
char* dfx_take_grad(Handle parameter, Handle* out) {
  return guarded([&] {
    at::Tensor& grad = parameter->mutable_grad();
    *out = grad.defined() ? new at::Tensor(std::move(grad)) : nullptr;
    grad = at::Tensor();
  });
}

// into = scale * grad, or into += scale * grad if it is not to be overwritten. Shapes are equal, strides need not be.
char* dfx_accumulate(Handle into, Handle grad, double scale, bool overwrite) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    if (!overwrite) {
      into->add_(*grad, scale);
    } else if (scale == 1.0) {
      into->copy_(*grad);
    } else {
      at::mul_out(*into, *grad, at::scalar_tensor(scale, into->options().device(at::kCPU)));
    }
  });
}

char* dfx_set_grad_hook(Handle parameter, dfx::Closure closure) {
  // Owned from here on, so that the closure is dropped on every path.
  std::unique_ptr<dfx::GradHook> hook(new dfx::GradHook(closure));
  return guarded([&] {
    TORCH_CHECK(
        torch::autograd::impl::post_acc_grad_hooks(*parameter) == nullptr, "the parameter has a gradient hook already");
    torch::autograd::impl::set_post_acc_grad_hooks(*parameter, std::move(hook));
  });
}

char* dfx_clear_grad_hook(Handle parameter) {
  return guarded([&] { torch::autograd::impl::set_post_acc_grad_hooks(*parameter, nullptr); });
}

// ---- fused kernels -------------------------------------------------------------------------------------------------

char* dfx_fused_adamw(
    const Handle* params, const Handle* grads, const Handle* exp_avgs, const Handle* exp_avg_sqs, size_t n, Handle step,
    double lr, double beta1, double beta2, double weight_decay, double eps, Handle grad_scale, Handle found_inf) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    std::vector<at::Tensor> steps(n, *step);
    at::_fused_adamw_(
        dfx::gather(params, n), dfx::gather(grads, n), dfx::gather(exp_avgs, n), dfx::gather(exp_avg_sqs, n), {}, steps,
        lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false,
        grad_scale ? std::optional<at::Tensor>(*grad_scale) : std::nullopt,
        found_inf ? std::optional<at::Tensor>(*found_inf) : std::nullopt);
  });
}

char* dfx_foreach_lerp(const Handle* tensors, const Handle* ends, size_t n, double weight) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    at::_foreach_lerp_(dfx::gather(tensors, n), dfx::gather(ends, n), weight);
  });
}

// The 2-norm of each tensor, as one vector.
char* dfx_foreach_norm(const Handle* tensors, size_t n, Handle* out) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    *out = new at::Tensor(at::stack(at::_foreach_norm(dfx::gather(tensors, n), 2)));
  });
}

} // extern "C"
