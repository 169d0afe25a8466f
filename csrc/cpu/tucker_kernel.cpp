// tucker_kernel and its gradient on the CPU: small modes first, so that only the last product is
// as large as the kernels, and the base kernel multiplies its rows while they are in registers.
#include <optional>

#include "tasks.h"
#include "tucker_chain.h"

namespace ksdiff_ops::cpu {
namespace {

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

Operands dense(const Operands& in) {
  Operands out{packed(in.core), in.factors, std::nullopt};
  for (Tensor& factor : out.factors) factor = packed(factor);
  if (in.base) out.base = packed(*in.base);
  return out;
}

// A thread is worth it for more multiplications than elsewhere: these are done a vector at a time.
template <class Body>
void for_vector_tasks(int64_t tasks, int64_t work, const Body& body) {
  for_tasks(tasks, work / 32, body);
}

// Reals of one call, not initialised.
template <typename Real>
class Memory {
 public:
  Memory(const Tensor& like, int64_t count)
      : bytes_(torch::stable::new_empty(like, Sizes{count * int64_t{sizeof(Real)}},
                                        torch::headeronly::ScalarType::Byte)) {}
  Real* data() const { return static_cast<Real*>(bytes_.mutable_data_ptr()); }

 private:
  Tensor bytes_;
};

template <typename Real>
void load(const Tensor& tensor, int64_t index, int64_t count, Real* target) {
  if (count > 0) load_row(numbers_of(tensor), tensor.const_data_ptr(), index, count, target);
}

template <typename Real>
void store(const Real* source, int64_t count, const Tensor& tensor, int64_t index) {
  if (count > 0) store_row(numbers_of(tensor), source, count, tensor.mutable_data_ptr(), index);
}

template <typename Real>
void build(const TuckerChain<Real>& chain, const Modes& m, const Operands& in, int64_t index,
           Real* sample) {
  std::fill(sample, sample + chain.size(), Real{});
  load(in.core, index * m.core(), m.core(), chain.tensor(sample, 3));
  for (int mode = 0; mode < 4; ++mode) {
    load(in.factors[mode], index * m.factor(mode), m.factor(mode), chain.factor(sample, mode));
  }
  chain.multiply(sample);
}

// Some rows of output channels of one tensor, as the row functions want them: where they are if
// they are reals and as long as a vector, else in padded memory.
template <typename Real>
class Block {
 public:
  Block(const Modes& m, const Tensor& tensor, int64_t most)
      : numbers_(numbers_of(tensor)), tensor_(tensor), row_(m.row()) {
    const int64_t lanes = rows<Real>().product_lanes;
    direct_ = numbers_.bytes() == sizeof(Real) && row_ >= lanes;
    pitch_ = direct_ ? row_ : round_up(row_, lanes);
    if (!direct_) memory_.resize(most * pitch_);
  }

  int64_t pitch() const { return pitch_; }  // and the columns to work on

  // Rows that will be read next.
  void announce(int64_t first, int64_t count) const {
    prefetch_row(numbers_, tensor_.const_data_ptr(), first * row_, count * row_);
  }
  const Real* read(int64_t first, int64_t count) {
    if (direct_) return static_cast<const Real*>(tensor_.const_data_ptr()) + first * row_;
    for (int64_t i = 0; i < count; ++i) {
      load(tensor_, (first + i) * row_, row_, memory_.data() + i * pitch_);
    }
    return memory_.data();
  }
  // Where to write the rows that `finish` puts into the tensor.
  Real* target(int64_t first) {
    return direct_ ? static_cast<Real*>(tensor_.mutable_data_ptr()) + first * row_
                   : memory_.data();
  }
  void finish(int64_t first, int64_t count) {
    if (direct_) return;
    for (int64_t i = 0; i < count; ++i) {
      store(memory_.data() + i * pitch_, row_, tensor_, (first + i) * row_);
    }
  }

 private:
  Numbers numbers_;
  Tensor tensor_;
  int64_t row_, pitch_;
  bool direct_;
  Scratch<Real> memory_;
};

template <typename Real>
void forward(const Modes& m, const Operands& in, const Tensor& out) {
  constexpr int64_t most = 16;
  const TuckerChain<Real> chain(m);
  const int64_t channels = m.size[0], parts = ceil_div(channels, most);
  for_vector_tasks(m.batch * parts, most * m.rank[0] * m.row(), [&](int64_t begin, int64_t end) {
    const Memory<Real> sample(out, chain.size());
    Block<Real> result(m, out, most), base(m, in.base.value_or(out), in.base ? most : 0);
    int64_t built = -1;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / parts, first = task % parts * most;
      const int64_t count = std::min(most, channels - first);
      // Each thread builds the samples it works on, which is quicker than to wait for another.
      if (b != built) build(chain, m, in, b, sample.data());
      built = b;
      const int64_t at = b * channels + first;
      rows<Real>().tucker.last_mode({chain.factor(sample.data(), 0) + first * m.rank[0],
                                     chain.tensor(sample.data(), 0), chain.pitch(0),
                                     in.base ? base.read(first, count) : nullptr, base.pitch(),
                                     result.target(at), result.pitch(), count, m.rank[0],
                                     result.pitch()});
      result.finish(at, count);
    }
  });
}

Tensor tucker_kernel(const Tensor& core, const Tensor& u1, const Tensor& u2, const Tensor& u3,
                     const Tensor& u4, std::optional<Tensor> base) {
  const Operands given{core, {u1, u2, u3, u4}, base};
  const Modes m = check(given);
  const Operands in = dense(given);
  const auto [channels, cin, kh, kw] = m.size;
  Tensor out = torch::stable::new_empty(core, Sizes{m.batch, channels, cin, kh, kw});
  if (out.numel() == 0) return out;
  with_real(numbers_of(core), [&](auto real) { forward<decltype(real)>(m, in, out); });
  return out;
}

template <typename Real>
class Backward {
 public:
  // `out`: the gradients of the core, the factors and the base, to be written.
  Backward(const Modes& m, const Operands& in, const Tensor& grad, const std::vector<Tensor>& out)
      : m_(m),
        in_(in),
        grad_(grad),
        out_(out),
        chain_(m),
        channels_(m.size[0]),
        most_(std::max<int64_t>(kLeast, ceil_div(channels_, kParts))),
        parts_(ceil_div(channels_, most_)),
        panel_(m.rank[0] * chain_.pitch(0)),
        memory_(grad, m.batch * (chain_.size() + parts_ * panel_)) {}

  void run() {
    const int64_t small = m_.rank[0] * m_.rank[1] * m_.row();
    const int64_t large = m_.rank[0] * m_.row() * most_;
    for_vector_tasks(m_.batch, small, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) build(chain_, m_, in_, b, sample(b));
    });
    for_vector_tasks(parts_, 3 * m_.batch * large, [&](int64_t begin, int64_t end) {
      sweep(begin, end);
    });
    for_vector_tasks(m_.batch, 2 * small, [&](int64_t begin, int64_t end) {
      const Memory<Real> own(grad_, chain_.size() + chain_.scratch());
      for (int64_t b = begin; b < end; ++b) finish(b, own.data(), own.data() + chain_.size());
    });
  }

 private:
  // Output channels are shared out the same for every number of threads, so that sums keep their
  // order.
  static constexpr int64_t kParts = 8, kLeast = 16;

  Real* sample(int64_t b) const { return memory_.data() + b * chain_.size(); }
  Real* panel(int64_t b, int64_t part) const {
    return sample(m_.batch) + (b * parts_ + part) * panel_;
  }

  // Everything that needs the output's gradient, of some parts of all samples.
  void sweep(int64_t begin, int64_t end) {
    const bool has_base = in_.base.has_value();
    Block<Real> grad(m_, grad_, most_);
    Block<Real> base(m_, in_.base.value_or(grad_), has_base ? most_ : 0);
    Block<Real> grad_base(m_, has_base ? out_[5] : grad_, has_base ? most_ : 0);
    Scratch<Real> grad_factor(most_ * m_.rank[0]);
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = part * most_, count = std::min(most_, channels_ - first);
      const Real* const factors = has_base ? base.read(first, count) : nullptr;
      Real* const sums = has_base ? grad_base.target(first) : nullptr;
      if (has_base) std::fill(sums, sums + count * grad_base.pitch(), Real{});
      for (int64_t b = 0; b < m_.batch; ++b) {
        const int64_t at = b * channels_ + first;
        // Between the rows of two samples lie those of other parts.
        if (b + 1 < m_.batch) grad.announce(at + channels_, count);
        std::fill(panel(b, part), panel(b, part) + panel_, Real{});
        rows<Real>().tucker.last_mode_gradients(
            {{chain_.factor(sample(b), 0) + first * m_.rank[0], chain_.tensor(sample(b), 0),
              chain_.pitch(0), factors, base.pitch(), nullptr, 0, count, m_.rank[0], grad.pitch()},
             grad.read(at, count), grad.pitch(), grad_factor.data(), panel(b, part), sums});
        store(grad_factor.data(), count * m_.rank[0], out_[1], at * m_.rank[0]);
      }
      if (has_base) grad_base.finish(first, count);
    }
  }

  // The gradients of a sample's core and small factors.
  void finish(int64_t b, Real* gradients, Real* scratch) {
    std::fill(gradients, gradients + chain_.size(), Real{});
    Real* const sums = chain_.tensor(gradients, 0);
    for (int64_t part = 0; part < parts_; ++part) {
      const Real* const own = panel(b, part);
      for (int64_t n = 0; n < panel_; ++n) sums[n] += own[n];
    }
    chain_.differentiate(sample(b), gradients, scratch);
    store(chain_.tensor(gradients, 3), m_.core(), out_[0], b * m_.core());
    for (int mode = 1; mode < 4; ++mode) {
      const int64_t count = m_.factor(mode);
      store(chain_.factor(gradients, mode), count, out_[mode + 1], b * count);
    }
  }

  const Modes& m_;
  const Operands& in_;
  const Tensor& grad_;
  const std::vector<Tensor>& out_;
  const TuckerChain<Real> chain_;
  const int64_t channels_, most_, parts_, panel_;
  const Memory<Real> memory_;  // samples, then panels
};

std::vector<Tensor> tucker_kernel_backward(const Tensor& grad, const Tensor& core,
                                           const Tensor& u1, const Tensor& u2, const Tensor& u3,
                                           const Tensor& u4, std::optional<Tensor> base) {
  const Operands given{core, {u1, u2, u3, u4}, base};
  const Modes m = check(given);
  check_rank("grad", grad, 5);
  check_alike("grad", grad, core);
  check_size("grad", grad, 0, m.batch);
  for (int mode = 0; mode < 4; ++mode) check_size("grad", grad, mode + 1, m.size[mode]);
  const Operands in = dense(given);
  const Tensor from = packed(grad);

  std::vector<Tensor> out{torch::stable::new_empty(core, in.core.sizes())};
  for (const Tensor& factor : in.factors) {
    out.push_back(torch::stable::new_empty(core, factor.sizes()));
  }
  if (in.base) out.push_back(torch::stable::new_empty(core, in.base->sizes()));
  with_real(numbers_of(core),
            [&](auto real) { Backward<decltype(real)>(m, in, from, out).run(); });
  return out;
}

}  // namespace
}  // namespace ksdiff_ops::cpu

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, CPU, m) {
  m.impl("tucker_kernel", TORCH_BOX(&ksdiff_ops::cpu::tucker_kernel));
  m.impl("tucker_kernel_backward", TORCH_BOX(&ksdiff_ops::cpu::tucker_kernel_backward));
}
