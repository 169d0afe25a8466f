// tucker_kernel and its gradient on the CPU: small modes first, so that only the last product is
// as large as the kernels, and the base kernel multiplies its rows while they are in cache.
#include <array>
#include <optional>
#include <vector>

#include "row_ring.h"
#include "tasks.h"

namespace ksdiff_ops::cpu {
namespace {

struct Modes {
  int64_t batch;
  std::array<int64_t, 4> rank;  // r1, r2, r3, r4
  std::array<int64_t, 4> size;  // Cout, Cin, kh, kw

  int64_t core() const { return rank[0] * rank[1] * rank[2] * rank[3]; }
  int64_t kernel() const { return size[2] * size[3]; }
  int64_t row() const { return size[1] * kernel(); }  // numbers of one output channel
  int64_t pitch() const { return round_up(row(), kRowQuantum); }
};

struct Operands {
  Tensor core;
  std::array<Tensor, 4> factors;
  std::optional<Tensor> base;
};

Modes check(const Operands& in) {
  static constexpr const char* names[] = {"u1", "u2", "u3", "u4"};
  check_rank("core", in.core, 5);
  Modes modes{in.core.size(0), {}, {}};
  for (int mode = 0; mode < 4; ++mode) {
    const Tensor& factor = in.factors[mode];
    check_rank(names[mode], factor, 3);
    check_alike(names[mode], factor, in.core);
    check_size(names[mode], factor, 0, modes.batch);
    check_size(names[mode], factor, 2, in.core.size(mode + 1));
    modes.rank[mode] = factor.size(2);
    modes.size[mode] = factor.size(1);
  }
  if (in.base) {
    check_rank("base", *in.base, 4);
    check_alike("base", *in.base, in.core);
    for (int mode = 0; mode < 4; ++mode) check_size("base", *in.base, mode, modes.size[mode]);
  }
  return modes;
}

Operands contiguous(const Operands& in) {
  Operands out{torch::stable::contiguous(in.core), in.factors, std::nullopt};
  for (Tensor& factor : out.factors) factor = torch::stable::contiguous(factor);
  if (in.base) out.base = torch::stable::contiguous(*in.base);
  return out;
}

template <typename Real>
std::vector<Real> load(Numbers numbers, const Tensor& tensor, int64_t index, int64_t count) {
  std::vector<Real> values(count);
  if (count > 0) load_row(numbers, tensor.const_data_ptr(), index, count, values.data());
  return values;
}

// What one sample's product passes through on its way from the core to the kernels.
template <typename Real>
struct Chain {
  std::vector<Real> core;     // [r1, r2, r3, r4]
  std::vector<Real> u[4];     // [size, rank]
  std::vector<Real> by_u4;    // [r1, r2, r3, kw]
  std::vector<Real> by_u43;   // [r1, r2, kh, kw]
  Scratch<Real> by_u432;      // [r1, pitch]: Cin, kh, kw
};

template <typename Real>
void build(const Modes& m, Numbers numbers, const Operands& in, int64_t sample, Chain<Real>& chain) {
  chain.core = load<Real>(numbers, in.core, sample * m.core(), m.core());
  for (int mode = 0; mode < 4; ++mode) {
    const int64_t count = m.size[mode] * m.rank[mode];
    chain.u[mode] = load<Real>(numbers, in.factors[mode], sample * count, count);
  }
  const auto [r1, r2, r3, r4] = m.rank;
  const auto [cout, cin, kh, kw] = m.size;
  chain.by_u4.assign(r1 * r2 * r3 * kw, Real{});
  for (int64_t a = 0; a < r1 * r2 * r3; ++a) {
    for (int64_t x = 0; x < kw; ++x) {
      for (int64_t s = 0; s < r4; ++s) {
        chain.by_u4[a * kw + x] += chain.core[a * r4 + s] * chain.u[3][x * r4 + s];
      }
    }
  }
  chain.by_u43.assign(r1 * r2 * kh * kw, Real{});
  for (int64_t a = 0; a < r1 * r2; ++a) {
    for (int64_t y = 0; y < kh; ++y) {
      for (int64_t r = 0; r < r3; ++r) {
        for (int64_t x = 0; x < kw; ++x) {
          chain.by_u43[(a * kh + y) * kw + x] +=
              chain.u[2][y * r3 + r] * chain.by_u4[(a * r3 + r) * kw + x];
        }
      }
    }
  }
  chain.by_u432.resize(r1 * m.pitch());
  for (int64_t p = 0; p < r1; ++p) {
    for (int64_t i = 0; i < cin; ++i) {
      Real* const out = chain.by_u432.data() + p * m.pitch() + i * m.kernel();
      for (int64_t q = 0; q < r2; ++q) {
        const Real weight = chain.u[1][i * r2 + q];
        const Real* const row = chain.by_u43.data() + (p * r2 + q) * m.kernel();
        for (int64_t k = 0; k < m.kernel(); ++k) out[k] += weight * row[k];
      }
    }
  }
}

// One output channel of the kernels, without the base.
template <typename Real>
void last_mode(const Modes& m, Chain<Real>& chain, int64_t cout, Real* out) {
  const int64_t none = 0, row = cout * m.rank[0];
  rows<Real>().mix({chain.u[0].data(), &row, chain.by_u432.data(), &none, m.pitch(), out,
                    m.pitch(), 1, static_cast<int>(m.rank[0]), m.row()});
}

Tensor forward(const Tensor& core, const Tensor& u1, const Tensor& u2, const Tensor& u3,
               const Tensor& u4, std::optional<Tensor> base) {
  const Operands given{core, {u1, u2, u3, u4}, base};
  const Modes m = check(given);
  const Operands in = contiguous(given);
  const Numbers numbers = numbers_of(core);
  const auto [channels, cin, kh, kw] = m.size;
  Tensor out = torch::stable::new_empty(core, Sizes{m.batch, channels, cin, kh, kw});
  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    std::vector<Chain<Real>> chains(m.batch);
    for_tasks(m.batch, m.rank[0] * m.rank[1] * m.row(), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) build(m, numbers, in, b, chains[b]);
    });
    for_tasks(m.batch * channels, m.rank[0] * m.row(), [&](int64_t begin, int64_t end) {
      Scratch<Real> row(m.pitch()), factor(m.pitch());
      for (int64_t task = begin; task < end; ++task) {
        const int64_t o = task % channels;
        last_mode(m, chains[task / channels], o, row.data());
        if (in.base) {
          load_row(numbers, in.base->const_data_ptr(), o * m.row(), m.row(), factor.data());
          for (int64_t n = 0; n < m.row(); ++n) row.data()[n] *= factor.data()[n];
        }
        store_row(numbers, row.data(), m.row(), out.mutable_data_ptr(), task * m.row());
      }
    });
  });
  return out;
}

// Gradients of one sample's core and factors; `scaled` is the output's gradient times the base.
template <typename Real>
struct SampleGradients {
  std::vector<Real> core, u[4];

  SampleGradients(const Modes& m, Chain<Real>& chain, Scratch<Real>& scaled) : core(m.core()) {
    const auto [r1, r2, r3, r4] = m.rank;
    const auto [cout, cin, kh, kw] = m.size;
    for (int mode = 0; mode < 4; ++mode) u[mode].resize(m.size[mode] * m.rank[mode]);

    const int lanes = rows<Real>().product_lanes;
    Scratch<Real> sums(cout * r1 * lanes);
    rows<Real>().multiply({scaled.data(), m.pitch(), static_cast<int>(cout), chain.by_u432.data(),
                           m.pitch(), static_cast<int>(r1), m.row(), sums.data()});
    std::vector<Real> u1_transposed(r1 * cout);
    std::vector<int64_t> matrix_offset, row_offset(r1, 0);
    for (int64_t p = 0; p < r1; ++p) {
      matrix_offset.push_back(p * cout);
      for (int64_t o = 0; o < cout; ++o) {
        u1_transposed[p * cout + o] = chain.u[0][o * r1 + p];
        for (int lane = 0; lane < lanes; ++lane) {
          u[0][o * r1 + p] += sums.data()[(o * r1 + p) * lanes + lane];
        }
      }
    }
    Scratch<Real> by_u432(r1 * m.pitch());
    rows<Real>().mix({u1_transposed.data(), matrix_offset.data(), scaled.data(), row_offset.data(),
                      m.pitch(), by_u432.data(), m.pitch(), static_cast<int>(r1),
                      static_cast<int>(cout), m.row()});

    std::vector<Real> by_u43(r1 * r2 * m.kernel());
    for (int64_t p = 0; p < r1; ++p) {
      for (int64_t i = 0; i < cin; ++i) {
        const Real* const from = by_u432.data() + p * m.pitch() + i * m.kernel();
        for (int64_t q = 0; q < r2; ++q) {
          const Real weight = chain.u[1][i * r2 + q];
          const Real* const row = chain.by_u43.data() + (p * r2 + q) * m.kernel();
          Real* const to = by_u43.data() + (p * r2 + q) * m.kernel();
          Real sum{};
          for (int64_t k = 0; k < m.kernel(); ++k) {
            sum += from[k] * row[k];
            to[k] += weight * from[k];
          }
          u[1][i * r2 + q] += sum;
        }
      }
    }

    std::vector<Real> by_u4(r1 * r2 * r3 * kw);
    for (int64_t a = 0; a < r1 * r2; ++a) {
      for (int64_t y = 0; y < kh; ++y) {
        for (int64_t r = 0; r < r3; ++r) {
          for (int64_t x = 0; x < kw; ++x) {
            const Real from = by_u43[(a * kh + y) * kw + x];
            u[2][y * r3 + r] += from * chain.by_u4[(a * r3 + r) * kw + x];
            by_u4[(a * r3 + r) * kw + x] += from * chain.u[2][y * r3 + r];
          }
        }
      }
    }
    for (int64_t a = 0; a < r1 * r2 * r3; ++a) {
      for (int64_t x = 0; x < kw; ++x) {
        for (int64_t s = 0; s < r4; ++s) {
          u[3][x * r4 + s] += by_u4[a * kw + x] * chain.core[a * r4 + s];
          core[a * r4 + s] += by_u4[a * kw + x] * chain.u[3][x * r4 + s];
        }
      }
    }
  }
};

template <typename Real>
void store(Numbers numbers, const std::vector<Real>& values, const Tensor& tensor, int64_t sample) {
  const int64_t count = static_cast<int64_t>(values.size());
  if (count > 0) {
    store_row(numbers, values.data(), count, tensor.mutable_data_ptr(), sample * count);
  }
}

std::vector<Tensor> backward(const Tensor& grad, const Tensor& core, const Tensor& u1,
                             const Tensor& u2, const Tensor& u3, const Tensor& u4,
                             std::optional<Tensor> base) {
  const Operands given{core, {u1, u2, u3, u4}, base};
  const Modes m = check(given);
  check_rank("grad", grad, 5);
  check_alike("grad", grad, core);
  check_size("grad", grad, 0, m.batch);
  for (int mode = 0; mode < 4; ++mode) check_size("grad", grad, mode + 1, m.size[mode]);
  const Operands in = contiguous(given);
  const Tensor from = torch::stable::contiguous(grad);
  const Numbers numbers = numbers_of(core);
  const int64_t channels = m.size[0];

  std::vector<Tensor> out{torch::stable::new_empty(core, in.core.sizes())};
  for (const Tensor& factor : in.factors) {
    out.push_back(torch::stable::new_empty(core, factor.sizes()));
  }
  if (in.base) out.push_back(torch::stable::new_empty(core, in.base->sizes()));

  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    std::vector<Chain<Real>> chains(m.batch);
    for_tasks(m.batch, 3 * m.rank[0] * channels * m.row(), [&](int64_t begin, int64_t end) {
      Scratch<Real> scaled(channels * m.pitch()), factor(m.pitch());
      for (int64_t b = begin; b < end; ++b) {
        build(m, numbers, in, b, chains[b]);
        for (int64_t o = 0; o < channels; ++o) {
          Real* const row = scaled.data() + o * m.pitch();
          load_row(numbers, from.const_data_ptr(), (b * channels + o) * m.row(), m.row(), row);
          if (in.base) {
            load_row(numbers, in.base->const_data_ptr(), o * m.row(), m.row(), factor.data());
            for (int64_t n = 0; n < m.row(); ++n) row[n] *= factor.data()[n];
          }
        }
        const SampleGradients<Real> sample(m, chains[b], scaled);
        store(numbers, sample.core, out[0], b);
        for (int mode = 0; mode < 4; ++mode) store(numbers, sample.u[mode], out[mode + 1], b);
      }
    });
    if (!in.base) return;
    // Sample after sample within a row, so that the sum's order never changes.
    for_tasks(channels, m.batch * m.rank[0] * m.row(), [&](int64_t begin, int64_t end) {
      Scratch<Real> row(m.pitch()), incoming(m.pitch()), sum(m.pitch());
      for (int64_t o = begin; o < end; ++o) {
        std::fill(sum.data(), sum.data() + m.row(), Real{});
        for (int64_t b = 0; b < m.batch; ++b) {
          last_mode(m, chains[b], o, row.data());
          load_row(numbers, from.const_data_ptr(), (b * channels + o) * m.row(), m.row(),
                   incoming.data());
          for (int64_t n = 0; n < m.row(); ++n) sum.data()[n] += incoming.data()[n] * row.data()[n];
        }
        store_row(numbers, sum.data(), m.row(), out[5].mutable_data_ptr(), o * m.row());
      }
    });
  });
  return out;
}

}  // namespace
}  // namespace ksdiff_ops::cpu

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, CPU, m) {
  m.impl("tucker_kernel", TORCH_BOX(&ksdiff_ops::cpu::forward));
  m.impl("tucker_kernel_backward", TORCH_BOX(&ksdiff_ops::cpu::backward));
}
