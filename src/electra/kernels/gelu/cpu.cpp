// y = GELU(x + bias), and its gradients. One exponential gives both Φ and its density, and the biases' gradient is
// summed in the same pass.

namespace gelu {
namespace {

constexpr int64_t LINES = 64;  // a block whose gradients one thread sums; blocks are then summed in their order

struct Normal {
  Floats below, density;  // Φ(x), φ(x)
};

// Abramowitz and Stegun 7.1.26: erfc(z) = (a₁ t + … + a₅ t⁵) exp(−z²) with t = 1 / (1 + p z), within 1.5e-7.
template <typename T>
Normal normal(Floats x) {
  Floats exponent = exponential<T>(x * x * Floats(-0.5f));
  Floats t = Floats(1.0f) / at::vec::fmadd(x.abs(), Floats(0.3275911f * 0.70710678f), Floats(1.0f));
  Floats sum(0.5f * 1.061405429f);
  for (float factor : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
    sum = at::vec::fmadd(t, sum, Floats(0.5f * factor));
  Floats tail = sum * t * exponent;
  return {Floats::blendv(Floats(1.0f) - tail, tail, x < Floats(0.0f)), exponent * Floats(0.39894228f)};
}

template <typename T>
void forward(const T* x, const float* bias, T* y, int64_t lines, int64_t size, int64_t threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t i = 0; i < lines; i++)
    for (int64_t j = 0; j < size; j += PAIR) {
      auto [one, two] = load(x + i * size + j);
      auto [bias_one, bias_two] = load(bias + j);
      one = one + bias_one, two = two + bias_two;
      store(y + i * size + j, one * normal<T>(one).below, two * normal<T>(two).below);
    }
}

// GELU′(x) = Φ(x) + x φ(x).
template <typename T>
Floats slope(Floats x) {
  Normal at = normal<T>(x);
  return at::vec::fmadd(x, at.density, at.below);
}

template <typename T>
void backward(const T* x, const float* bias, const T* slopes, T* of_x, float* of_bias, int64_t lines, int64_t size,
              int64_t threads) {
  int64_t blocks = (lines + LINES - 1) / LINES;
  auto sums = room<float>(blocks * size);
#pragma omp parallel for num_threads(threads)
  for (int64_t block = 0; block < blocks; block++) {
    float* sum = sums.get() + block * size;
    std::fill_n(sum, size, 0.0f);
    for (int64_t i = block * LINES; i < std::min(lines, (block + 1) * LINES); i++)
      for (int64_t j = 0; j < size; j += PAIR) {
        auto [one, two] = load(x + i * size + j);
        auto [bias_one, bias_two] = load(bias + j);
        auto [slope_one, slope_two] = load(slopes + i * size + j);
        auto [sum_one, sum_two] = load(sum + j);
        one = slope_one * slope<T>(one + bias_one), two = slope_two * slope<T>(two + bias_two);
        store(of_x + i * size + j, one, two);
        store(sum + j, sum_one + one, sum_two + two);
      }
  }
  std::fill_n(of_bias, size, 0.0f);
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t j = 0; j < size; j++) of_bias[j] += sums[block * size + j];
}

}  // namespace
}  // namespace gelu

extern "C" {

#define ELECTRA_GELU(name, T)                                                                                          \
  void gelu_forward_##name(const T* x, const float* bias, T* y, int64_t lines, int64_t size, int64_t threads) {        \
    gelu::forward(x, bias, y, lines, size, threads);                                                                   \
  }                                                                                                                    \
  void gelu_backward_##name(const T* x, const float* bias, const T* slopes, T* of_x, float* of_bias, int64_t lines,    \
                            int64_t size, int64_t threads) {                                                           \
    gelu::backward(x, bias, slopes, of_x, of_bias, lines, size, threads);                                              \
  }

ELECTRA_GELU(float32, float)
ELECTRA_GELU(bfloat16, BFloat16)
}
