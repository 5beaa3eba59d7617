// What tch lacks of libtorch, with a C interface.
//
// Every function returns null, or the message of the C++ exception that it caught: a string that the caller frees with
// dfx_free_message. Tensors are `at::Tensor*`, as in tch; those that are returned belong to the caller.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <vector>

namespace dfx {

using Handle = at::Tensor*;

// Runs `body`; turns an exception into a message.
template <typename F>
char* guarded(F&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception& e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

inline std::vector<at::Tensor> gather(const Handle* list, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*list[i]);
  return out;
}

// A message that a Rust callback returned (null: it succeeded) becomes an exception here.
void check_callback(char* message, const char* where);

// A Rust closure: what to call, with what, and how to drop it. Callbacks return null or a message made by
// dfx_new_message; they never unwind.
struct Closure {
  void* data;
  char* (*call)(void* data, const Handle* inputs, size_t n_inputs, Handle* outputs, size_t n_outputs);
  void (*drop)(void* data);
};

// Drops the Rust closure with the last of its owners in C++.
class Owned {
 public:
  explicit Owned(Closure closure) : closure_(closure) {}
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() { closure_.drop(closure_.data); }
  std::vector<at::Tensor> operator()(const std::vector<at::Tensor>& inputs, size_t n_outputs, const char* where) const;

 private:
  Closure closure_;
};

} // namespace dfx
