// Group norm, scale and shift by sample and channel (FiLM), and SiLU as one function with one derivative, for
// channels-last CPU tensors. See shim.h for the conventions.
//
// Nothing but the input and each group's mean and deviation is kept for backward, and each pass over memory does all that
// can be done in it: two in forward, two in backward. The statistics are those of libtorch's group norm (biased variance);
// sums are taken in float64 over float32 sums of 64 pixels.
#include "shim.h"

#include "isa.h"
#include "norm_kernels.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace dfx {

DFX_KERNELS(NormKernels, norm_kernels, kFloat, kBFloat16)

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A tensor [B, C, H, W] as the kernels see it, and how the work is shared out.
struct Layout {
  size_t batch, channels, pixels, groups, per_group;
  // Channels of a task: whole groups, so that tasks share nothing.
  size_t slice;

  Layout(const at::Tensor& x, int64_t n_groups)
      : batch(x.size(0)), channels(x.size(1)), pixels(x.size(2) * x.size(3)), groups(n_groups),
        per_group(channels / groups) {
    const size_t threads = at::get_num_threads();
    const size_t wanted = batch >= threads ? 1 : (threads + batch - 1) / batch;
    // Cache lines are not shared between threads.
    const size_t unit = std::lcm(per_group, size_t{32});
    slice = std::min(channels, (channels / wanted + unit - 1) / unit * unit);
    if (slice == 0) slice = channels;
  }

  // Calls task(sample, first channel, channels).
  template <typename F>
  void each(F&& task) const {
    const size_t slices = (channels + slice - 1) / slice;
    at::parallel_for(0, batch * slices, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const size_t first = i % slices * slice;
        task(i / slices, first, std::min(slice, channels - first));
      }
    });
  }
};

const char* at_channel(const at::Tensor& x, const Layout& l, size_t sample, size_t channel) {
  return static_cast<const char*>(x.const_data_ptr()) +
      (sample * l.pixels * l.channels + channel) * x.element_size();
}

char* at_channel_mut(const at::Tensor& x, const Layout& l, size_t sample, size_t channel) {
  return const_cast<char*>(at_channel(x, l, sample, channel));
}

// Mean and 1 / deviation of each group of a task, from sums around each channel's first value.
void statistics(const NormKernels& k, const char* x, at::ScalarType type, Span span, size_t per_group, double eps,
                float* mean, float* rstd) {
  const size_t n = span.channels;
  std::vector<float> origin(n);
  for (size_t c = 0; c < n; ++c) {
    origin[c] = type == at::kFloat ? reinterpret_cast<const float*>(x)[c]
                                   : static_cast<float>(reinterpret_cast<const at::BFloat16*>(x)[c]);
  }
  std::vector<double> sum(n), square(n);
  k.moments(x, span, origin.data(), sum.data(), square.data());
  const double pixels = span.pixels;
  for (size_t g = 0; g < n / per_group; ++g) {
    double average = 0;
    for (size_t c = g * per_group; c < (g + 1) * per_group; ++c) average += origin[c] + sum[c] / pixels;
    average /= per_group;
    double variance = 0;
    for (size_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      // Within the channel, and the channel's mean around the group's.
      const double own = sum[c] / pixels, from = origin[c] + own - average;
      variance += square[c] / pixels - own * own + from * from;
    }
    mean[g] = average;
    rstd[g] = 1.0 / std::sqrt(std::max(variance / per_group, 0.0) + eps);
  }
}

// The constants of one task, by channel.
struct Constants {
  std::vector<float> mean, rstd, scale, shift;

  Constants(size_t first, size_t n, size_t per_group, const float* means, const float* rstds, const float* weight,
            const float* bias, const float* film, size_t channels)
      : mean(n), rstd(n), scale(n), shift(n) {
    for (size_t i = 0; i < n; ++i) {
      const size_t c = first + i;
      const float by = film ? 1.0f + film[c] : 1.0f;
      mean[i] = means[c / per_group];
      rstd[i] = rstds[c / per_group];
      scale[i] = rstd[i] * weight[c] * by;
      shift[i] = bias[c] * by + (film ? film[channels + c] : 0.0f);
    }
  }

  Affine affine() const { return {mean.data(), scale.data(), shift.data()}; }
};

struct Norm : torch::autograd::Function<Norm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            const std::optional<at::Tensor>& film, int64_t groups, double eps, bool silu) {
    const Layout l(x, groups);
    const auto& k = norm_kernels(x.scalar_type());
    const auto floats = x.options().dtype(at::kFloat).memory_format(at::MemoryFormat::Contiguous);
    at::Tensor y = at::empty_like(x), stats = at::empty({2, x.size(0), groups}, floats);
    const at::Tensor w = weight.contiguous(), b = bias.contiguous();
    const at::Tensor s = film ? film->to(at::kFloat).contiguous() : at::Tensor();
    float* mean = stats.mutable_data_ptr<float>();
    float* rstd = mean + l.batch * l.groups;
    l.each([&](size_t sample, size_t first, size_t n) {
      const Span span{l.pixels, n, l.channels};
      const size_t row = sample * l.groups, group = row + first / l.per_group;
      const char* in = at_channel(x, l, sample, first);
      statistics(k, in, x.scalar_type(), span, l.per_group, eps, mean + group, rstd + group);
      const Constants c(first, n, l.per_group, mean + row, rstd + row, w.const_data_ptr<float>(),
                        b.const_data_ptr<float>(),
                        s.defined() ? s.const_data_ptr<float>() + sample * 2 * l.channels : nullptr, l.channels);
      k.apply[silu](in, at_channel_mut(y, l, sample, first), span, c.affine());
    });
    ctx->save_for_backward({x, weight, bias, film ? *film : at::Tensor(), stats});
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["silu"] = silu;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    TORCH_CHECK(!c10::GradMode::is_enabled(), "the fused group norm has no second derivative");
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &film = saved[3];
    const bool silu = ctx->saved_data["silu"].toBool();
    const Layout l(x, ctx->saved_data["groups"].toInt());
    const auto& k = norm_kernels(x.scalar_type());
    const at::Tensor dy = grads[0].to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor weight = saved[1].contiguous(), bias = saved[2].contiguous();
    const at::Tensor s = film.defined() ? film.to(at::kFloat).contiguous() : at::Tensor();
    const float *w = weight.const_data_ptr<float>(), *b = bias.const_data_ptr<float>();
    const float* means = saved[4].const_data_ptr<float>();
    const float* rstds = means + l.batch * l.groups;
    at::Tensor dx = at::empty_like(x);
    // By sample and channel: the gradients of z summed, and multiplied with the normalised input.
    std::vector<double> dz(l.batch * l.channels), dzx(l.batch * l.channels);
    l.each([&](size_t sample, size_t first, size_t n) {
      const Span span{l.pixels, n, l.channels};
      const size_t row = sample * l.channels + first, groups = sample * l.groups;
      const float* by = s.defined() ? s.const_data_ptr<float>() + sample * 2 * l.channels : nullptr;
      const Constants c(first, n, l.per_group, means + groups, rstds + groups, w, b, by, l.channels);
      const char *in = at_channel(x, l, sample, first), *out = at_channel(dy, l, sample, first);
      k.sums[silu](in, out, span, c.affine(), &dz[row], &dzx[row]);
      for (size_t i = 0; i < n; ++i) dzx[row + i] *= c.rstd[i];
      std::vector<float> offset(n), factor(n);
      const double count = static_cast<double>(l.pixels) * l.per_group;
      for (size_t g = 0; g < n; g += l.per_group) {
        double mean_dx = 0, mean_dxx = 0;
        for (size_t i = g; i < g + l.per_group; ++i) {
          const double to_normalised = static_cast<double>(w[first + i]) * (by ? 1.0 + by[first + i] : 1.0);
          mean_dx += to_normalised * dz[row + i] / count;
          mean_dxx += to_normalised * dzx[row + i] / count;
        }
        const double rstd = c.rstd[g];
        std::fill_n(&offset[g], l.per_group, static_cast<float>(-rstd * mean_dx));
        std::fill_n(&factor[g], l.per_group, static_cast<float>(-rstd * rstd * mean_dxx));
      }
      k.gradient[silu](in, out, at_channel_mut(dx, l, sample, first), span, c.affine(), offset.data(), factor.data());
    });
    return small_gradients(l, dx, weight, bias, s, film, dz, dzx);
  }

  // The gradients of what has one value a channel.
  static variable_list small_gradients(const Layout& l, const at::Tensor& dx, const at::Tensor& weight,
                                       const at::Tensor& bias, const at::Tensor& s, const at::Tensor& film,
                                       const std::vector<double>& dz, const std::vector<double>& dzx) {
    at::Tensor dw = at::empty_like(weight), db = at::empty_like(bias);
    at::Tensor dfilm = s.defined() ? at::empty_like(s) : at::Tensor();
    const float *w = weight.const_data_ptr<float>(), *b = bias.const_data_ptr<float>();
    for (size_t c = 0; c < l.channels; ++c) {
      double to_weight = 0, to_bias = 0;
      for (size_t sample = 0; sample < l.batch; ++sample) {
        const double sum = dz[sample * l.channels + c], sum_x = dzx[sample * l.channels + c];
        double by = 1;
        if (s.defined()) {
          const size_t at = sample * 2 * l.channels + c;
          by += s.const_data_ptr<float>()[at];
          dfilm.mutable_data_ptr<float>()[at] = w[c] * sum_x + b[c] * sum;
          dfilm.mutable_data_ptr<float>()[at + l.channels] = sum;
        }
        to_weight += by * sum_x;
        to_bias += by * sum;
      }
      dw.mutable_data_ptr<float>()[c] = to_weight;
      db.mutable_data_ptr<float>()[c] = to_bias;
    }
    if (dfilm.defined()) dfilm = dfilm.to(film.scalar_type());
    return {dx, dw, db, dfilm, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

bool fits(const at::Tensor& t) {
  return t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16;
}

} // namespace
} // namespace dfx

extern "C" {

// Whether dfx_norm takes the tensor.
bool dfx_norm_takes(dfx::Handle x) {
  return x->is_cpu() && dfx::fits(*x) && x->dim() == 4 && x->numel() > 0 &&
      x->is_contiguous(at::MemoryFormat::ChannelsLast);
}

// silu(norm(x) * (1 + film[:, :C]) + film[:, C:]): film is [B, 2C] or null, weight and bias are float32.
char* dfx_norm(dfx::Handle x, dfx::Handle weight, dfx::Handle bias, dfx::Handle film, int64_t groups, double eps,
               bool silu, dfx::Handle* out) {
  return dfx::guarded([&] {
    const int64_t channels = x->size(1);
    TORCH_CHECK(dfx_norm_takes(x), "the fused group norm takes channels-last CPU tensors of float32 or bfloat16");
    TORCH_CHECK(groups > 0 && channels % groups == 0, channels, " channels in ", groups, " groups");
    for (const dfx::Handle p : {weight, bias}) {
      TORCH_CHECK(p->is_cpu() && p->scalar_type() == at::kFloat && p->dim() == 1 && p->size(0) == channels,
                  "the fused group norm needs float32 weights [", channels, "]");
    }
    TORCH_CHECK(
        film == nullptr ||
            (film->is_cpu() && film->dim() == 2 && film->size(0) == x->size(0) && film->size(1) == 2 * channels),
        "the fused group norm needs scale and shift [", x->size(0), ", ", 2 * channels, "]");
    const auto given = film ? std::optional<at::Tensor>(*film) : std::nullopt;
    *out = new at::Tensor(dfx::Norm::apply(*x, *weight, *bias, given, groups, eps, silu));
  });
}

} // extern "C"
