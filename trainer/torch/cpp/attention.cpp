// softmax(Q K^T / sqrt(d)) V for CPU tensors of float32 or bfloat16, with oneDNN's matrix products in forward and backward.
// See shim.h for the conventions.
//
// After Dao et al. 2022, "FlashAttention": of the scores only each row's log-sum-exp is kept, and backward computes them
// again, some rows at a time. libtorch's own kernel does the same, but its float32 products are MKL's, which is slow on
// processors that are not Intel's, and its bfloat16 backward makes thousands of small products.
#include "shim.h"

#include "attention_kernels.h"
#include "isa.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

namespace dfx {

DFX_KERNELS(AttentionKernels, attention_kernels, kAttentionFloat, kAttentionBFloat16)

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Scores that are computed at a time; they stay in the second-level cache.
constexpr size_t kScores = 1 << 16;

// [B, heads, rows, d] with neighbouring values of d side by side, in any other order.
struct Heads {
  explicit Heads(const at::Tensor& t)
      : data(static_cast<char*>(const_cast<void*>(t.const_data_ptr()))), size(t.element_size()), heads(t.size(1)),
        rows(t.size(2)), d(t.size(3)), batch_stride(t.stride(0)), head_stride(t.stride(1)), row_stride(t.stride(2)) {}

  char* at(size_t task, size_t row) const {
    return data + (task / heads * batch_stride + task % heads * head_stride + row * row_stride) * size;
  }

  Rows from(size_t row, size_t count) const {
    (void)row;
    return {count, d, row_stride};
  }

  char* data;
  size_t size, heads, rows, d, batch_stride, head_stride, row_stride;
};

// c = a b, or c += a b; b is packed, c dense.
template <typename T>
void product(size_t m, size_t n, size_t k, const void* a, size_t stride_a, const void* b, float* c, bool add) {
  at::native::cpublas::brgemm(m, n, k, stride_a, n, n, add, static_cast<const T*>(a), static_cast<const T*>(b), c);
}

// Room for one task, reused between tasks of a thread.
template <typename T>
struct Room {
  explicit Room(size_t block, size_t q_rows, size_t k_rows, size_t d, bool backward)
      : keys(d * k_rows), values(d * k_rows), scores(block * k_rows), plain(block * k_rows), out(block * d),
        max(block), sum(block) {
    if (!backward) return;
    keys_again.resize(d * k_rows);
    probabilities.resize(block * k_rows);
    d_scores.resize(block * k_rows);
    d_packed.resize(block * k_rows);
    turned.resize(block * d);
    d_keys.resize(d * k_rows);
    d_values.resize(d * k_rows);
    (void)q_rows;
  }
  std::vector<T> keys, values;
  std::vector<float> scores;
  std::vector<T> plain;
  std::vector<float> out, max, sum;
  std::vector<T> keys_again, probabilities, d_packed, turned;
  std::vector<float> d_scores, d_keys, d_values;
};

size_t block_rows(size_t q_rows, size_t k_rows) {
  const size_t fit = std::max<size_t>(kScores / k_rows, 16) / 16 * 16;
  return std::min(fit, q_rows);
}

template <typename T>
void forward_all(const at::Tensor& q_, const at::Tensor& k_, const at::Tensor& v_, const at::Tensor& out_, float* lse) {
  const Heads q(q_), k(k_), v(v_), o(out_);
  const auto& kernels = attention_kernels(q_.scalar_type());
  const size_t block = block_rows(q.rows, k.rows);
  const float scale = 1.0 / std::sqrt(static_cast<double>(q.d));
  at::parallel_for(0, q_.size(0) * q.heads, 1, [&](int64_t begin, int64_t end) {
    Room<T> room(block, q.rows, k.rows, q.d, false);
    for (size_t task = begin; task < static_cast<size_t>(end); ++task) {
      kernels.pack_transposed(k.at(task, 0), k.from(0, k.rows), room.keys.data());
      kernels.pack(v.at(task, 0), v.from(0, v.rows), room.values.data());
      for (size_t first = 0; first < q.rows; first += block) {
        const size_t n = std::min(block, q.rows - first);
        product<T>(n, k.rows, q.d, q.at(task, first), q.row_stride, room.keys.data(), room.scores.data(), false);
        kernels.softmax(room.scores.data(), room.plain.data(), n, k.rows, scale, room.max.data(), room.sum.data());
        product<T>(n, v.d, k.rows, room.plain.data(), k.rows, room.values.data(), room.out.data(), false);
        float* to = lse + task * q.rows + first;
        for (size_t i = 0; i < n; ++i) {
          to[i] = room.max[i] + std::log(room.sum[i]);
          room.sum[i] = 1.0f / room.sum[i];
        }
        kernels.store(room.out.data(), room.sum.data(), o.at(task, first), {n, v.d, o.row_stride});
      }
    }
    at::native::cpublas::brgemm_release();
  });
}

template <typename T>
void backward_all(const variable_list& saved, const at::Tensor& d_out_, const at::Tensor& dq_, const at::Tensor& dk_,
                  const at::Tensor& dv_) {
  const Heads q(saved[0]), k(saved[1]), v(saved[2]), o(saved[3]), d_out(d_out_), dq(dq_), dk(dk_), dv(dv_);
  const float* lse = saved[4].const_data_ptr<float>();
  const auto& kernels = attention_kernels(saved[0].scalar_type());
  const size_t block = block_rows(q.rows, k.rows), d = q.d;
  const float scale = 1.0 / std::sqrt(static_cast<double>(d));
  at::parallel_for(0, saved[0].size(0) * q.heads, 1, [&](int64_t begin, int64_t end) {
    Room<T> room(block, q.rows, k.rows, d, true);
    for (size_t task = begin; task < static_cast<size_t>(end); ++task) {
      kernels.pack_transposed(k.at(task, 0), k.from(0, k.rows), room.keys.data());
      kernels.pack(k.at(task, 0), k.from(0, k.rows), room.keys_again.data());
      kernels.pack_transposed(v.at(task, 0), v.from(0, v.rows), room.values.data());
      for (size_t first = 0; first < q.rows; first += block) {
        const size_t n = std::min(block, q.rows - first);
        const bool add = first > 0;
        const char *qs = q.at(task, first), *gs = d_out.at(task, first);
        kernels.dot(gs, o.at(task, first), n, d, d_out.row_stride, o.row_stride, room.sum.data());
        product<T>(n, k.rows, d, qs, q.row_stride, room.keys.data(), room.scores.data(), false);
        product<T>(n, k.rows, d, gs, d_out.row_stride, room.values.data(), room.d_scores.data(), false);
        T* packed = sizeof(T) == 2 ? room.d_packed.data() : room.plain.data();
        kernels.gradient(room.scores.data(), room.d_scores.data(), n, k.rows, scale, lse + task * q.rows + first,
                         room.sum.data(), room.probabilities.data(), room.plain.data(), packed);
        product<T>(n, d, k.rows, room.plain.data(), k.rows, room.keys_again.data(), room.out.data(), false);
        kernels.store(room.out.data(), nullptr, dq.at(task, first), {n, d, dq.row_stride});
        // The gradients of K and V come transposed, so that the large matrices need not be.
        kernels.transpose(gs, {n, d, d_out.row_stride}, room.turned.data());
        product<T>(d, k.rows, n, room.turned.data(), n, room.probabilities.data(), room.d_values.data(), add);
        kernels.transpose(qs, {n, d, q.row_stride}, room.turned.data());
        product<T>(d, k.rows, n, room.turned.data(), n, packed, room.d_keys.data(), add);
      }
      kernels.store_transposed(room.d_keys.data(), dk.at(task, 0), {k.rows, d, dk.row_stride});
      kernels.store_transposed(room.d_values.data(), dv.at(task, 0), {k.rows, d, dv.row_stride});
    }
    at::native::cpublas::brgemm_release();
  });
}

// A new tensor of the same shape as [B, heads, rows, d] in memory of [B, rows, heads, d], where heads merge by a view.
at::Tensor like(const at::Tensor& t) {
  return at::empty({t.size(0), t.size(2), t.size(1), t.size(3)}, t.options()).transpose(1, 2);
}

struct Attention : torch::autograd::Function<Attention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    at::Tensor out = like(q);
    at::Tensor lse = at::empty({q.size(0), q.size(1), q.size(2)}, q.options().dtype(at::kFloat));
    if (q.scalar_type() == at::kFloat) {
      forward_all<float>(q, k, v, out, lse.mutable_data_ptr<float>());
    } else {
      forward_all<at::BFloat16>(q, k, v, out, lse.mutable_data_ptr<float>());
    }
    ctx->save_for_backward({q, k, v, out, lse});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    TORCH_CHECK(!c10::GradMode::is_enabled(), "the attention has no second derivative");
    const auto saved = ctx->get_saved_variables();
    at::Tensor d_out = grads[0].to(saved[0].scalar_type());
    if (d_out.stride(3) != 1) d_out = d_out.contiguous();
    at::Tensor dq = like(saved[0]), dk = like(saved[1]), dv = like(saved[2]);
    if (saved[0].scalar_type() == at::kFloat) {
      backward_all<float>(saved, d_out, dq, dk, dv);
    } else {
      backward_all<at::BFloat16>(saved, d_out, dq, dk, dv);
    }
    return {dq, dk, dv};
  }
};

// Whether oneDNN has the products on this machine: asked by trying, once for each kind.
template <typename T>
bool has_product() {
  static const bool found = [] {
    std::vector<T> a(16 * 16), b(16 * 16);
    std::vector<float> c(16 * 16);
    try {
      product<T>(16, 16, 16, a.data(), 16, b.data(), c.data(), false);
      at::native::cpublas::brgemm_release();
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }();
  return found;
}

} // namespace
} // namespace dfx

extern "C" {

// Whether dfx_attention takes these tensors, and this machine has what it needs.
bool dfx_attention_takes(dfx::Handle q, dfx::Handle k, dfx::Handle v) {
  const auto type = q->scalar_type();
  for (const dfx::Handle t : {q, k, v}) {
    if (!t->is_cpu() || t->scalar_type() != type || t->dim() != 4 || t->numel() == 0 || t->stride(3) != 1) return false;
    // Pairs of bfloat16 rows are interleaved.
    if (t->size(2) % 2 != 0 || t->size(3) % 2 != 0) return false;
  }
  return type == at::kFloat ? dfx::has_product<float>() : type == at::kBFloat16 && dfx::has_product<at::BFloat16>();
}

// q [B, heads, T, d], k and v [B, heads, S, d] to [B, heads, T, d], in memory of [B, T, heads, d].
char* dfx_attention(dfx::Handle q, dfx::Handle k, dfx::Handle v, dfx::Handle* out) {
  return dfx::guarded([&] {
    TORCH_CHECK(dfx_attention_takes(q, k, v), "the attention does not take these tensors");
    TORCH_CHECK(k->sizes() == v->sizes() && q->size(0) == k->size(0) && q->size(1) == k->size(1) &&
                    q->size(3) == k->size(3), "attention over ", q->sizes(), ", ", k->sizes(), " and ", v->sizes());
    *out = new at::Tensor(dfx::Attention::apply(*q, *k, *v));
  });
}

} // extern "C"
