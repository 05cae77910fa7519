// What the kernels for a CPU share: vectors of float32, whatever type the numbers in memory have. The files are
// compiled as one (cpu.py), this one first, by the compiler of torch.compile and with PyTorch's vectors, for AVX2,
// AVX-512 and others.

#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <memory>
#include <tuple>
#include <utility>

namespace {

using at::BFloat16;
using Floats = at::vec::Vectorized<float>;
using Ints = at::vec::Vectorized<int32_t>;

constexpr int64_t WIDTH = Floats::size();
constexpr int64_t PAIR = 2 * WIDTH;  // numbers that are computed at a time: as bfloat16 they are one vector

int64_t rounded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

template <typename T>
std::unique_ptr<T[]> room(int64_t size) {
  return std::unique_ptr<T[]>(new T[size]);
}

Floats where(Ints mask, Floats yes, Floats no) { return Floats::blendv(no, yes, at::vec::cast<float>(mask)); }

void store(float* to, Floats one, Floats two) {
  one.store(to);
  two.store(to + WIDTH);
}
void store(BFloat16* to, Floats one, Floats two) {
#if defined(CPU_CAPABILITY_AVX512) && defined(__AVX512BF16__)
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(two, one)));  // PyTorch rounds in 16 steps
#else
  at::vec::convert_from_float<BFloat16>(one, two).store(to);
#endif
}
std::pair<Floats, Floats> load(const float* from) { return {Floats::loadu(from), Floats::loadu(from + WIDTH)}; }
std::pair<Floats, Floats> load(const BFloat16* from) {
  auto [one, two] = at::vec::convert_to_float<BFloat16>(at::vec::Vectorized<BFloat16>::loadu(from));
  return {one, two};
}

float sum_of(Floats x) {
  return at::vec::vec_reduce_all<float>([](Floats& one, Floats& two) { return one + two; }, x);
}

// As exact as the type of its result needs.
template <typename T>
Floats exponential(Floats x) {
  return sizeof(T) == 2 ? x.fexp_u20() : x.exp();
}

}  // namespace
