// A 3x3 convolution over a map enlarged by 2 (nearest neighbour), without the enlarged map. See shim.h for the conventions.
//
// Of the nine pixels that the kernel covers only four differ: each of the four positions within a pixel of the small map
// has a 2x2 kernel of its own, whose weights are sums of the nine. That takes 4/9 of the operations. The four kernels are
// one convolution with four times the channels, whose results are then put in their places.
#include "shim.h"

#include <ATen/Functions.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dfx {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// [4C, ...] values by position: the part of `small` [B, 4C, H + 1, W + 1] and the pixels of `large` [B, C, 2H, 2W] that
// belong to the position (row, column) within a small pixel.
std::pair<at::Tensor, at::Tensor> parts(const at::Tensor& small, const at::Tensor& large, int64_t row, int64_t column) {
  const int64_t c = large.size(1), h = large.size(2) / 2, w = large.size(3) / 2;
  return {small.narrow(1, (2 * row + column) * c, c).narrow(2, row, h).narrow(3, column, w),
          large.slice(2, row, 2 * h, 2).slice(3, column, 2 * w, 2)};
}

struct Place : torch::autograd::Function<Place> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& small) {
    ctx->set_materialize_grads(false);
    ctx->saved_data["sizes"] = small.sizes().vec();
    at::Tensor large = at::empty({small.size(0), small.size(1) / 4, 2 * small.size(2) - 2, 2 * small.size(3) - 2},
                                 small.options().memory_format(at::MemoryFormat::ChannelsLast));
    for (const int64_t position : {0, 1, 2, 3}) {
      const auto [from, to] = parts(small, large, position / 2, position % 2);
      to.copy_(from);
    }
    return large;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    if (!grads[0].defined()) return {at::Tensor()};
    const auto sizes = ctx->saved_data["sizes"].toIntVector();
    at::Tensor small = at::empty(sizes, grads[0].options().memory_format(at::MemoryFormat::ChannelsLast));
    const int64_t h = sizes[2] - 1, w = sizes[3] - 1, c = sizes[1] / 4;
    for (const int64_t position : {0, 1, 2, 3}) {
      const int64_t row = position / 2, column = position % 2;
      const auto [to, from] = parts(small, grads[0], row, column);
      to.copy_(from);
      // What was computed beyond the map.
      const at::Tensor own = small.narrow(1, position * c, c);
      own.select(2, row == 0 ? h : 0).zero_();
      own.select(3, column == 0 ? w : 0).zero_();
    }
    return {small};
  }
};

// No autocast while it lives.
class FullPrecision {
 public:
  FullPrecision() : was_(at::autocast::is_autocast_enabled(at::kCPU)) {
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
  ~FullPrecision() { at::autocast::set_autocast_enabled(at::kCPU, was_); }

 private:
  bool was_;
};

// The kernel [O, I, 3, 3] as four of 2x2: [4O, I, 2, 2], in float32.
at::Tensor four_kernels(const at::Tensor& weight) {
  // Along one axis, the small pixels before and at position 0 see the taps {0} and {1, 2}; at position 1 it is {0, 1} and
  // {2}, of the pixel itself and the one after.
  static const at::Tensor sums = [] {
    const at::Tensor axis = at::tensor({1.f, 0.f, 0.f, 0.f, 1.f, 1.f, 1.f, 1.f, 0.f, 0.f, 0.f, 1.f}).view({2, 2, 3});
    // [position, tap of 2, tap of 3] of both axes: [16, 9].
    return at::einsum("apr,bqs->abpqrs", {axis, axis}).reshape({16, 9}).contiguous();
  }();
  const FullPrecision guard;
  const int64_t o = weight.size(0), i = weight.size(1);
  const at::Tensor four = at::matmul(sums, weight.permute({0, 2, 3, 1}).reshape({o, 9, i}));
  return four.view({o, 4, 4, i}).permute({1, 0, 2, 3}).reshape({4 * o, 2, 2, i}).permute({0, 3, 1, 2});
}

} // namespace
} // namespace dfx

extern "C" {

// Convolution [O, I, 3, 3] with padding 1, bias [O] or null, over x [B, I, H, W] enlarged by 2: [B, O, 2H, 2W]. CPU.
char* dfx_upsample_conv(dfx::Handle x, dfx::Handle weight, dfx::Handle bias, dfx::Handle* out) {
  return dfx::guarded([&] {
    TORCH_CHECK(x->is_cpu() && x->dim() == 4, "an enlarging convolution takes CPU maps [B, C, H, W]");
    TORCH_CHECK(weight->dim() == 4 && weight->size(2) == 3 && weight->size(3) == 3,
                "an enlarging convolution needs a kernel of 3x3");
    const auto four_biases = bias ? std::optional<at::Tensor>(bias->repeat({4})) : std::nullopt;
    const at::Tensor small = at::conv2d(*x, dfx::four_kernels(*weight), four_biases, 1, 1);
    *out = new at::Tensor(dfx::Place::apply(small));
  });
}

} // extern "C"
