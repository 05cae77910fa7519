// Attention inside documents in one pass, for a CPU: the scores stay in a core's own cache.
//
// A thread computes one head of one row. Forward, it goes over blocks of queries: their scores with all keys that they
// may see, a softmax, the product with the values. Backward, it goes over blocks of keys, with the scores transposed,
// so that a line of weights is the left factor of the next product; every block adds to the queries' gradients, which
// are the thread's own. No sum depends on how many threads there are.
//
// The products are oneDNN's small ones, as PyTorch's own kernels for a CPU call them: they use its matrix units if it
// has some. They need a right factor of bfloat16 in pairs: neighbours along the dimension that is summed over stand
// side by side.

namespace attention {
namespace {

constexpr int64_t BLOCK = 64;  // queries, and keys, of a product

// The Python side fills this (AttentionArguments in cpu.py), in the same order.
struct Arguments {
  int64_t rows, heads, length, dim, threads;
  int64_t reach;        // how many positions away a position sees; the length or more: to the ends of its document
  int64_t back, ahead;  // whether it sees that side
  int64_t drops, threshold;
  double scale, keep_scale;
};

// The strides of rows, heads and positions of a tensor in which the numbers of one head stand side by side.
struct Strides {
  int64_t row, head, position;
};

// One row's head of a tensor: where it begins, and the stride of its positions.
template <typename T>
struct Lines {
  T* start;
  int64_t stride;
  Lines(T* tensor, const Strides& strides, int64_t row, int64_t head)
      : start(tensor + row * strides.row + head * strides.head), stride(strides.position) {}
  T* operator[](int64_t position) const { return start + position * stride; }
};

// --- numbers ---------------------------------------------------------------------------------------------------------

// Writes a line of sums, times a factor, as T.
template <typename T>
void put(const float* line, int64_t count, float factor, T* to) {
  int64_t i = 0;
  for (; i + PAIR <= count; i += PAIR) {
    auto [one, two] = load(line + i);
    store(to + i, one * Floats(factor), two * Floats(factor));
  }
  for (; i < count; i++) to[i] = T(line[i] * factor);
}

template <typename T>
float inner_product(const T* x, const T* y, int64_t count) {
  Floats sum(0.0f);
  int64_t i = 0;
  for (; i + PAIR <= count; i += PAIR) {
    auto [x_one, x_two] = load(x + i);
    auto [y_one, y_two] = load(y + i);
    sum = sum + x_one * y_one + x_two * y_two;
  }
  float total = sum_of(sum);
  for (; i < count; i++) total += float(x[i]) * float(y[i]);
  return total;
}

Ints logical_shift(Ints bits, int by) { return (bits >> Ints(by)) & Ints((1 << (32 - by)) - 1); }

// `random.drop` at the addresses `counters` of a row's stream, bit for bit.
struct Dropout {
  Ints first, second, threshold;
  Dropout(const int32_t* words, const Arguments& args, int64_t row)
      : first(words[row]), second(words[args.rows + row]), threshold(int32_t(args.threshold)) {}

  // All ones where a number is dropped.
  Ints operator()(Ints counters) const {
    Ints bits = counters + first;
    bits = (bits ^ logical_shift(bits, 16)) * Ints(0x7FEB352D) + second;
    bits = (bits ^ logical_shift(bits, 15)) * Ints(int32_t(0x846CA68Bu));
    bits = bits ^ logical_shift(bits, 16);
    return ((bits >> Ints(1)) - threshold) >> Ints(31);
  }
};

// --- what a position sees --------------------------------------------------------------------------------------------

struct Span {
  int64_t low, high;
};

// The positions that those of a block may see, in whole vectors. A document's tokens stand side by side.
Span seen_by(const int32_t* documents, const Arguments& args, int64_t from, int64_t lines, bool back, bool ahead) {
  int64_t low = from, high = from + lines;
  while (back && low > 0 && documents[low - 1] == documents[from]) low--;
  while (ahead && high < args.length && documents[high] == documents[from + lines - 1]) high++;
  low = std::max(low, from - args.reach);
  high = std::min(high, from + lines + args.reach);
  return {low / PAIR * PAIR, rounded(high, PAIR)};
}

// Which positions one position sees.
struct Sight {
  Ints document, low, high;
  bool whole;  // the whole document
  Sight(const int32_t* documents, const Arguments& args, int64_t at, bool back, bool ahead)
      : document(documents[at]),
        low(int32_t(back ? at - args.reach : at)),
        high(int32_t(ahead ? at + args.reach : at)),
        whole(back && ahead && args.reach >= args.length) {}

  // All ones where the positions from `at` on are seen.
  Ints operator()(const int32_t* documents, int64_t at) const {
    Ints seen = Ints::loadu(documents + at) == document;
    if (whole) return seen;
    Ints here = Ints::arange(int32_t(at), 1);
    return seen & (here >= low) & (here <= high);
  }
};

// Copies a row's documents, with −1 beyond its end.
void take(const int32_t* documents, const Arguments& args, int64_t row, int32_t* own) {
  std::copy_n(documents + row * args.length, args.length, own);
  std::fill(own + args.length, own + rounded(args.length, PAIR), -1);
}

// --- products --------------------------------------------------------------------------------------------------------

// c [m, n] (+)= a [m, k] · b [k, n], float32; b as `turn` or `lay` writes it.
void product(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_step, const float* b, int64_t b_step, float* c,
             int64_t c_step, bool add = false) {
  at::native::cpublas::brgemm(m, n, k, a_step, b_step, c_step, add, a, b, c, false);
}
void product(int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t a_step, const BFloat16* b, int64_t b_step,
             float* c, int64_t c_step, bool add = false) {
  at::native::cpublas::brgemm(m, n, rounded(k, 2), a_step, b_step, c_step, add, a, b, c, true);
}

// Lines [count, dim] transposed, as a right factor [dim, wide]; 0 beyond count.
template <typename T>
void turn(const Lines<const T>& lines, int64_t count, int64_t dim, int64_t wide, T* to) {
  constexpr int64_t unit = sizeof(float) / sizeof(T);  // pairs of bfloat16 are moved as one number
  auto from = reinterpret_cast<const float*>(lines.start);
  auto into = reinterpret_cast<float*>(to);
  int64_t across = dim / unit, stride = lines.stride / unit;
  for (int64_t i = 0; i < count; i += WIDTH)
    for (int64_t j = 0; j < across; j += WIDTH)
      at::vec::transpose_mxn<float>(from + i * stride + j, stride, into + j * wide + i, wide,
                                    int(std::min(WIDTH, count - i)), int(std::min(WIDTH, across - j)));
  for (int64_t j = 0; j < across; j++) std::fill(into + j * wide + count, into + (j + 1) * wide, 0.0f);
}

// Lines [count, dim] as a right factor [count, dim]; bfloat16 in pairs, an odd last line with a line of zeros.
void lay(const Lines<const float>& lines, int64_t from, int64_t count, int64_t dim, float* to) {
  for (int64_t i = 0; i < count; i++) std::copy_n(lines[from + i], dim, to + i * dim);
}
void lay(const Lines<const BFloat16>& lines, int64_t from, int64_t count, int64_t dim, BFloat16* to) {
  for (int64_t i = 0; i < count; i += 2) {
    auto one = lines[from + i], two = lines[from + std::min(i + 1, count - 1)];
    for (int64_t j = 0; j < dim; j++) to[i * dim + 2 * j] = one[j], to[i * dim + 2 * j + 1] = two[j];
    if (i + 1 == count)
      for (int64_t j = 0; j < dim; j++) to[i * dim + 2 * j + 1] = BFloat16(0.0f);
  }
}

// x [lines, count] transposed, as a left factor [count, BLOCK]; bfloat16 in pairs, an odd last column with zeros.
template <typename T>
void flip(T* x, int64_t lines, int64_t count, int64_t wide, T* to) {
  constexpr int64_t size = sizeof(T) == 2 ? PAIR : WIDTH;
  if (sizeof(T) == 2 && lines % 2) std::fill_n(x + lines++ * wide, count, T(0.0f));
  for (int64_t i = 0; i < lines; i += size)
    for (int64_t j = 0; j < count; j += size)
      at::vec::transpose_mxn<T>(x + i * wide + j, wide, to + j * BLOCK + i, BLOCK, int(std::min(size, lines - i)),
                                int(std::min(size, count - j)));
}

// --- forward ---------------------------------------------------------------------------------------------------------

// Writes exp(score − largest) of what position i of a head sees, in the type of the values, 0 where it is dropped.
// Returns the log-sum-exp of the scores and the reciprocal of the sum of the exponentials, both without dropout.
template <typename T>
std::pair<float, float> softmax(float* scores, T* weights, const int32_t* documents, Span span, const Arguments& args,
                                int64_t head, int64_t i, const Dropout& dropped) {
  Sight sees(documents, args, i, args.back, args.ahead);
  Floats scale(float(args.scale)), keep_scale(float(args.keep_scale)), never(-std::numeric_limits<float>::infinity());
  Floats most = never;
  for (int64_t j = span.low; j < span.high; j += WIDTH) {
    Floats score = where(sees(documents, j), Floats::loadu(scores + j - span.low) * scale, never);
    score.store(scores + j - span.low);
    most = at::vec::maximum(most, score);
  }
  float largest = at::vec::vec_reduce_all<float>([](Floats& x, Floats& y) { return at::vec::maximum(x, y); }, most);
  Floats sum(0.0f), top(largest);
  Ints counters = Ints::arange(int32_t((head * args.length + i) * args.length + span.low), 1);
  auto weight = [&](int64_t j) {
    Floats x = exponential<T>(Floats::loadu(scores + j - span.low) - top);
    sum = sum + x;
    if (args.drops) x = where(dropped(counters), Floats(0.0f), x * keep_scale);
    counters = counters + Ints(int32_t(WIDTH));
    return x;
  };
  for (int64_t j = span.low; j < span.high; j += PAIR) {
    Floats one = weight(j), two = weight(j + WIDTH);
    store(weights + j - span.low, one, two);
  }
  float total = sum_of(sum);
  return {largest + std::log(total), 1.0f / total};
}

template <typename T>
void forward(const Arguments& args, const T* q, const T* k, const T* v, T* out, float* sums, const int32_t* documents,
             const int32_t* words, const Strides* strides) {
  int64_t length = args.length, dim = args.dim, wide = rounded(length, PAIR);
#pragma omp parallel num_threads(args.threads)
  {
    auto keys = room<T>(dim * wide), values = room<T>((length + 1) * dim), weights = room<T>(BLOCK * wide);
    auto scores = room<float>(BLOCK * wide), read = room<float>(BLOCK * dim), factors = room<float>(BLOCK);
    auto own = room<int32_t>(wide);
#pragma omp for
    for (int64_t index = 0; index < args.rows * args.heads; index++) {
      int64_t row = index / args.heads, head = index % args.heads;
      Lines<const T> query(q, strides[0], row, head), key(k, strides[1], row, head), value(v, strides[2], row, head);
      Lines<T> result(out, strides[3], row, head);
      take(documents, args, row, own.get());
      turn(key, length, dim, wide, keys.get());
      lay(value, 0, length, dim, values.get());
      Dropout dropped(words, args, row);
      for (int64_t from = 0; from < length; from += BLOCK) {
        int64_t lines = std::min(BLOCK, length - from);
        Span span = seen_by(own.get(), args, from, lines, args.back, args.ahead);
        int64_t width = span.high - span.low, count = std::min(span.high, length) - span.low;
        constexpr int64_t unit = sizeof(float) / sizeof(T);
        product(lines, width, dim, query[from], query.stride, keys.get() + span.low * unit, wide, scores.get(), wide);
        for (int64_t i = 0; i < lines; i++)
          std::tie(sums[index * length + from + i], factors[i]) = softmax(
              scores.get() + i * wide, weights.get() + i * wide, own.get(), span, args, head, from + i, dropped);
        product(lines, dim, count, weights.get(), wide, values.get() + span.low * dim, dim, read.get(), dim);
        for (int64_t i = 0; i < lines; i++) put(read.get() + i * dim, dim, factors[i], result[from + i]);
      }
    }
    at::native::cpublas::brgemm_release(sizeof(T) == 2);
  }
}

// --- backward --------------------------------------------------------------------------------------------------------

// For key j of a head and the queries that see it: the weights after dropout, and the gradients of the scores.
// `changes` are the gradients of the weights, `common` is Σ_j weight · gradient of each query.
template <typename T>
void slopes_of(const float* scores, const float* changes, const float* log_sums, const float* common, T* weights,
               T* slants, const int32_t* documents, Span span, const Arguments& args, int64_t head, int64_t j,
               const Dropout& dropped) {
  Sight sees(documents, args, j, args.ahead, args.back);  // a query that sees ahead is behind its keys
  Floats scale(float(args.scale)), keep_scale(float(args.keep_scale)), none(0.0f);
  int32_t length = int32_t(args.length);
  Ints counters = Ints::arange(int32_t((head * args.length + span.low) * args.length + j), length);
  auto one = [&](int64_t i) {
    Floats x = Floats::loadu(scores + i - span.low) * scale - Floats::loadu(log_sums + i);
    Floats weight = where(sees(documents, i), exponential<T>(x), none), kept = weight;
    Floats change = Floats::loadu(changes + i - span.low);
    if (args.drops) {
      Ints gone = dropped(counters);
      kept = where(gone, none, weight * keep_scale);
      change = where(gone, none, change * keep_scale);
    }
    counters = counters + Ints(int32_t(WIDTH) * length);
    return std::pair(kept, weight * (change - Floats::loadu(common + i)) * scale);
  };
  for (int64_t i = span.low; i < span.high; i += PAIR) {
    auto [weight, slant] = one(i);
    auto [next_weight, next_slant] = one(i + WIDTH);
    store(weights + i - span.low, weight, next_weight);
    store(slants + i - span.low, slant, next_slant);
  }
}

template <typename T>
void backward(const Arguments& args, const T* q, const T* k, const T* v, const T* out, const T* slopes,
              const float* sums, const int32_t* documents, const int32_t* words, T* of_q, T* of_k, T* of_v,
              const Strides* strides) {
  int64_t length = args.length, dim = args.dim, wide = rounded(length, PAIR);
#pragma omp parallel num_threads(args.threads)
  {
    auto queries = room<T>(dim * wide), turned_slopes = room<T>(dim * wide);
    auto laid_queries = room<T>((length + 1) * dim), laid_slopes = room<T>((length + 1) * dim);
    auto laid_keys = room<T>(BLOCK * dim), weights = room<T>(BLOCK * wide), slants = room<T>(BLOCK * wide);
    auto flipped = room<T>(wide * BLOCK);
    auto scores = room<float>(BLOCK * wide), changes = room<float>(BLOCK * wide);
    auto of_queries = room<float>(wide * dim);
    auto of_block = room<float>(BLOCK * dim), common = room<float>(wide), log_sums = room<float>(wide);
    auto own = room<int32_t>(wide);
    std::fill_n(common.get(), wide, 0.0f);
    std::fill_n(log_sums.get(), wide, 0.0f);
#pragma omp for
    for (int64_t index = 0; index < args.rows * args.heads; index++) {
      int64_t row = index / args.heads, head = index % args.heads;
      Lines<const T> query(q, strides[0], row, head), key(k, strides[1], row, head), value(v, strides[2], row, head);
      Lines<const T> result(out, strides[3], row, head), slope(slopes, strides[4], row, head);
      Lines<T> query_out(of_q, strides[5], row, head), key_out(of_k, strides[6], row, head);
      Lines<T> value_out(of_v, strides[7], row, head);
      take(documents, args, row, own.get());
      std::copy_n(sums + index * length, length, log_sums.get());
      for (int64_t i = 0; i < length; i++) common[i] = inner_product(result[i], slope[i], dim);
      turn(query, length, dim, wide, queries.get());
      turn(slope, length, dim, wide, turned_slopes.get());
      lay(query, 0, length, dim, laid_queries.get());
      lay(slope, 0, length, dim, laid_slopes.get());
      std::fill_n(of_queries.get(), length * dim, 0.0f);
      Dropout dropped(words, args, row);
      for (int64_t from = 0; from < length; from += BLOCK) {
        int64_t lines = std::min(BLOCK, length - from);
        Span span = seen_by(own.get(), args, from, lines, args.ahead, args.back);
        int64_t width = span.high - span.low, count = std::min(span.high, length) - span.low;
        constexpr int64_t unit = sizeof(float) / sizeof(T);
        product(lines, width, dim, key[from], key.stride, queries.get() + span.low * unit, wide, scores.get(), wide);
        product(lines, width, dim, value[from], value.stride, turned_slopes.get() + span.low * unit, wide,
                changes.get(), wide);
        for (int64_t j = 0; j < lines; j++)
          slopes_of(scores.get() + j * wide, changes.get() + j * wide, log_sums.get(), common.get(),
                    weights.get() + j * wide, slants.get() + j * wide, own.get(), span, args, head, from + j, dropped);
        product(lines, dim, count, weights.get(), wide, laid_slopes.get() + span.low * dim, dim, of_block.get(), dim);
        for (int64_t j = 0; j < lines; j++) put(of_block.get() + j * dim, dim, 1.0f, value_out[from + j]);
        product(lines, dim, count, slants.get(), wide, laid_queries.get() + span.low * dim, dim, of_block.get(), dim);
        for (int64_t j = 0; j < lines; j++) put(of_block.get() + j * dim, dim, 1.0f, key_out[from + j]);
        flip(slants.get(), lines, count, wide, flipped.get());
        lay(key, from, lines, dim, laid_keys.get());
        product(count, dim, lines, flipped.get(), BLOCK, laid_keys.get(), dim, of_queries.get() + span.low * dim,
                dim, true);
      }
      for (int64_t i = 0; i < length; i++) put(of_queries.get() + i * dim, dim, 1.0f, query_out[i]);
    }
    at::native::cpublas::brgemm_release(sizeof(T) == 2);
  }
}

}  // namespace
}  // namespace attention

extern "C" {

// Whether oneDNN's small products are here.
int supports_float32() {
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
  return 1;
#else
  return 0;
#endif
}

// Whether they take bfloat16 in pairs: tried, for PyTorch does not say it of all CPUs. Where oneDNN has no such product
// it throws (AVX-512 without bfloat16), which must not leave C code.
int supports_bfloat16() {
  if (!supports_float32()) return 0;
  constexpr int64_t size = 32;
  BFloat16 left[size * size], right[size * size];
  float products[size * size];
  for (int64_t i = 0; i < size; i++)
    for (int64_t j = 0; j < size; j++) {
      left[i * size + j] = BFloat16(float((3 * i + 5 * j) % 7));
      right[(i / 2 * size + j) * 2 + i % 2] = BFloat16(float((2 * i + 3 * j) % 5));
    }
  try {
    attention::product(size, size, size, left, size, right, size, products, size);
    at::native::cpublas::brgemm_release(true);
  } catch (const std::exception&) {
    return 0;
  }
  for (int64_t i = 0; i < size; i++)
    for (int64_t j = 0; j < size; j++) {
      float sum = 0.0f;
      for (int64_t k = 0; k < size; k++) sum += float((3 * i + 5 * k) % 7 * ((2 * k + 3 * j) % 5));
      if (products[i * size + j] != sum) return 0;
    }
  return 1;
}

#define ELECTRA_ATTENTION(name, T)                                                                                     \
  void attention_forward_##name(const attention::Arguments* arguments, const T* q, const T* k, const T* v, T* out,     \
                                float* sums, const int32_t* documents, const int32_t* words,                           \
                                const attention::Strides* strides) {                                                   \
    attention::forward(*arguments, q, k, v, out, sums, documents, words, strides);                                     \
  }                                                                                                                    \
  void attention_backward_##name(const attention::Arguments* arguments, const T* q, const T* k, const T* v,            \
                                 const T* out, const T* slopes, const float* sums, const int32_t* documents,           \
                                 const int32_t* words, T* of_q, T* of_k, T* of_v,                                      \
                                 const attention::Strides* strides) {                                                  \
    attention::backward(*arguments, q, k, v, out, slopes, sums, documents, words, of_q, of_k, of_v, strides);          \
  }

ELECTRA_ATTENTION(float32, float)
ELECTRA_ATTENTION(bfloat16, BFloat16)
}
