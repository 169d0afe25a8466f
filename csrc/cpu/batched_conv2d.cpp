// batched_conv2d and its gradients on the CPU: depthwise and dense kernels of its own at stride 1,
// and otherwise the one of PyTorch's forms that is the fastest for the shape.
#include <algorithm>
#include <limits>

#include "aten.h"
#include "dense.h"
#include "depthwise.h"

namespace ksdiff_ops::cpu {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;

enum class Pass { forward, grad_input, grad_weight };

// Of one call, whichever of x, weight and the output are given.
struct Call {
  int64_t batch, in, out, groups;
  int64_t height, width, out_height, out_width;
  int64_t kernel_y, kernel_x;
  Window window;

  Sizes stride() const { return {window.stride_y, window.stride_x}; }
  Sizes dilation() const { return {window.dilation_y, window.dilation_x}; }
  Sizes x_size() const { return {batch, in, height, width}; }
  Sizes out_size() const { return {batch, out, out_height, out_width}; }
  Sizes kernel_size() const { return {out, in / groups, kernel_y, kernel_x}; }

  bool is_depthwise() const {
    return groups == in && groups == out && window.stride_y == 1 && window.stride_x == 1;
  }
  bool steps_by_one() const {
    return window.stride_y == 1 && window.stride_x == 1 && window.dilation_y == 1 &&
           window.dilation_x == 1;
  }
  // Whether it is a product of matrices, which groups in channels_last do not make.
  bool is_product(bool channels_last) const {
    return (groups == 1 || !channels_last) && kernel_y == 1 && kernel_x == 1 &&
           window.stride_y == 1 && window.stride_x == 1 && window.padding_y == 0 &&
           window.padding_x == 0 && height == out_height && width == out_width;
  }

  // Whether a sample's kernels are so many, beside the pixels that use them, that a convolution
  // spends its time on bringing them into the order it likes. Measured; a product of matrices
  // takes them as they are.
  bool has_few_pixels(int64_t least_kernels_per_pixel) const {
    constexpr int64_t most_pixels = 16 * 16;
    const int64_t pixels = out_height * out_width;
    return pixels <= most_pixels && in / groups * (out / groups) >= least_kernels_per_pixel * pixels;
  }

  // Samples of one grouped convolution. What it allocates for much at once goes back to the system
  // after every call, and the page faults of the next one took a sixth of its time (images of
  // 8 x 64 x 56 x 56); pieces of a few MB stay. Measured.
  int64_t samples_at_once(int64_t bytes_a_number) const {
    constexpr int64_t piece = int64_t{4} << 20, least_sample = int64_t{1} << 20, much = 2 * piece;
    const int64_t images = (in * height * width + out * out_height * out_width) * bytes_a_number;
    const int64_t kernels = out * (in / groups) * kernel_y * kernel_x * bytes_a_number;
    const int64_t sample = images + kernels;
    if (sample < least_sample || batch * std::max(images, kernels) <= much) return batch;
    return std::max<int64_t>(piece / sample, 1);
  }

  Sliding sliding() const {
    return {height,           width,
            kernel_y,         kernel_x,
            out_height,       out_width,
            window.padding_y, window.padding_x,
            window.dilation_y, window.dilation_x};
  }
  Depthwise depthwise(const Sliding& own, bool channels_last) const {
    return {own, batch, in, channels_last};
  }
  // `into` channels of the image that slides, `from` of the other
  Dense dense(const Sliding& own, int64_t into, int64_t from) const {
    return {own, batch, groups, into / groups, from / groups};
  }

  // Rows and columns of zeros below and to the right that give exactly this output; fewer than
  // none where the image's last ones are not read.
  int64_t bottom() const {
    return (out_height - 1) * window.stride_y + window.dilation_y * (kernel_y - 1) + 1 - height -
           window.padding_y;
  }
  int64_t right() const {
    return (out_width - 1) * window.stride_x + window.dilation_x * (kernel_x - 1) + 1 - width -
           window.padding_x;
  }
  // Whether equal padding on both sides gives this output.
  bool is_symmetric() const {
    const int64_t spare_y = window.padding_y - bottom(), spare_x = window.padding_x - right();
    return window.padding_y >= 0 && window.padding_x >= 0 && spare_y >= 0 && spare_x >= 0 &&
           spare_y < window.stride_y && spare_x < window.stride_x;
  }
};

bool is_channels_last(const Tensor& image) {
  if (image.is_contiguous()) return false;
  int64_t expected = 1;
  for (int64_t axis : {1, 3, 2, 0}) {
    if (image.size(axis) != 1 && image.stride(axis) != expected) return false;
    expected *= image.size(axis);
  }
  return true;
}

MemoryFormat format_of(bool channels_last) {
  return channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

// The tensor itself where it is laid out so: asking PyTorch for that costs a call of an operator.
Tensor laid_out(const Tensor& tensor, bool channels_last) {
  if (!channels_last) return packed(tensor);
  return torch::stable::contiguous(tensor, MemoryFormat::ChannelsLast);
}

Tensor empty_like(const Tensor& like, const Sizes& size, bool channels_last) {
  return torch::stable::empty(size, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                              format_of(channels_last));
}

// Whether PyTorch's convolutions sum bfloat16 in float32, asked once of one whose partial sums
// would be rounded from 257 to 256. Its oneDNN sums so; the loops that stand in where that is
// missing or switched off do not.
bool sums_bfloat16_in_float() {
  static const bool known = [] {
    const Tensor grad = torch::stable::full({1, 1, 1, 3}, 1, ScalarType::BFloat16);
    const Tensor weight = torch::stable::clone(grad);
    torch::stable::fill_(torch::stable::select(weight, 3, 1), 256);
    const Tensor x = aten::convolution_grad_input(grad, grad, weight, {1, 1}, {0, 1}, {1, 1}, 1);
    return static_cast<float>(x.const_data_ptr<torch::headeronly::BFloat16>()[1]) == 258;
  }();
  return known;
}

// Whether PyTorch's form is given bfloat16, not float32 in its place. On some machines it sums half
// precision in half precision, on others it emulates that, slower than float32. It does neither
// where the CPU has instructions that sum products of bfloat16 in float32 and PyTorch uses them, but
// there, with a stride or dilation, its convolutions were seen to read and write out of bounds, and
// with few channels in a group they take several times as long as ours in float32.
bool is_narrow(const Tensor& tensor, const Call& call, Pass pass) {
  const int64_t least_channels = pass == Pass::forward ? 8 : 16;
  const bool has_large_groups =
      call.in / call.groups >= least_channels && call.out / call.groups >= least_channels;
  return tensor.scalar_type() == ScalarType::BFloat16 && call.steps_by_one() &&
         (has_large_groups || call.is_depthwise()) && multiplies_bfloat16() &&
         sums_bfloat16_in_float();
}

Tensor widened(const Tensor& tensor, const Call& call, Pass pass) {
  const bool half = tensor.scalar_type() == ScalarType::Half ||
                    tensor.scalar_type() == ScalarType::BFloat16;
  return half && !is_narrow(tensor, call, pass) ? torch::stable::to(tensor, ScalarType::Float)
                                                : tensor;
}

Tensor as_result(const Tensor& result, const Tensor& like, bool channels_last) {
  const Tensor typed = result.scalar_type() == like.scalar_type()
                           ? result
                           : torch::stable::to(result, like.scalar_type());
  return laid_out(typed, channels_last);
}

// The kernels, or the one kernel [1, Cout, ...] that all samples share.
Tensor distinct(const Tensor& weight) {
  Tensor kernels = weight;
  return weight.stride(0) == 0 ? torch::stable::narrow(kernels, 0, 0, 1) : kernels;
}

// [B, C, H, W] as matrices [B, G, C / G, H * W], or [B, 1, H * W, C] in channels_last.
Tensor matrices(const Tensor& image, int64_t groups, bool channels_last) {
  const int64_t batch = image.size(0), channels = image.size(1),
                pixels = image.size(2) * image.size(3);
  if (!channels_last) {
    return reshaped(image, {batch, groups, channels / groups, pixels});
  }
  return reshaped(aten::permute(image, {0, 2, 3, 1}), {batch, 1, pixels, channels});
}

Tensor image_of(const Tensor& matrices, const Sizes& size, bool channels_last) {
  if (!channels_last) return reshaped(matrices, size);
  return aten::permute(reshaped(matrices, {size[0], size[2], size[3], size[1]}), {0, 3, 1, 2});
}

// Kernels of size one as matrices [B or 1, G, Cout / G, Cin / G].
Tensor mixing(const Tensor& kernels, int64_t groups) {
  return reshaped(kernels,
                  {kernels.size(0), groups, kernels.size(1) / groups, kernels.size(2)});
}

// [B, C, H, W] -> [1, B * C, H, W]
Tensor side_by_side(const Tensor& image) {
  return reshaped(image,
                  {1, image.size(0) * image.size(1), image.size(2), image.size(3)});
}

Tensor stacked(const Tensor& weight) {
  return reshaped(weight, {weight.size(0) * weight.size(1), weight.size(2), weight.size(3),
                           weight.size(4)});
}

// Measured: a grouped convolution, which knows no channels_last, is the faster form of the two
// except for large images in channels_last.
bool is_better_one_by_one(const Tensor& image) {
  constexpr int64_t large = 32 * 32;
  return is_channels_last(image) && image.size(2) * image.size(3) >= large;
}

Tensor samples(Tensor tensor, int64_t first, int64_t count) {
  return torch::stable::narrow(tensor, 0, first, count);
}

Tensor sample(const Tensor& tensor, int64_t index) { return samples(tensor, index, 1); }

// make(first, count) for so many samples at once, written to theirs of out.
template <class Make>
Tensor piece_by_piece(Tensor out, int64_t at_once, const Make& make) {
  for (int64_t first = 0; first < out.size(0); first += at_once) {
    const int64_t count = std::min(at_once, out.size(0) - first);
    Tensor part = samples(out, first, count);
    torch::stable::copy_(part, make(first, count));
  }
  return out;
}

// make(b) for every sample, written to out[b].
template <class Make>
Tensor one_by_one(const Tensor& out, const Make& make) {
  return piece_by_piece(out, 1, [&](int64_t b, int64_t) { return make(b); });
}

// A convolution of PyTorch's with the same padding on both sides, which this call may not have.
struct Plain {
  Call call;
  Sizes padding;
  bool padded;

  explicit Plain(const Call& asked) : call(asked), padded(!asked.is_symmetric()) {
    padding = padded ? Sizes{0, 0} : Sizes{call.window.padding_y, call.window.padding_x};
  }

  Sizes margins() const {
    return {call.window.padding_x, call.right(), call.window.padding_y, call.bottom()};
  }
  Tensor widen(const Tensor& x) const { return padded ? torch::stable::pad(x, margins()) : x; }
  Tensor narrow(const Tensor& x) const {
    if (!padded) return x;
    Sizes back = margins();
    for (int64_t& margin : back) margin = -margin;
    return torch::stable::pad(x, back);
  }
  Sizes widened_size() const {
    if (!padded) return {call.height, call.width};
    return {call.height + call.window.padding_y + call.bottom(),
            call.width + call.window.padding_x + call.right()};
  }
};

// Patches [B, G, Cin / G * kh * kw, Ho * Wo] of an image without more zeros to add than `padding`.
Tensor patches_of(const Call& call, const Plain& plain, const Tensor& image) {
  const Tensor patches = aten::unfold(image, {call.kernel_y, call.kernel_x}, call.dilation(),
                                      plain.padding, call.stride());
  return reshaped(patches, {call.batch, call.groups, patches.size(1) / call.groups,
                            patches.size(2)});
}

// Kernels as matrices [B, G, Cout / G, Cin / G * kh * kw].
Tensor kernel_matrices(const Call& call, const Tensor& weight) {
  return reshaped(weight, {weight.size(0), call.groups, call.out / call.groups,
                           call.in / call.groups * call.kernel_y * call.kernel_x});
}

constexpr int64_t kForwardKernelsPerPixel = 400, kGradientKernelsPerPixel = 256;

Tensor unfolded_forward(const Call& call, const Tensor& x, const Tensor& weight) {
  const Plain plain(call);
  const Tensor y = torch::stable::matmul(kernel_matrices(call, weight),
                                         patches_of(call, plain, plain.widen(x)));
  return reshaped(y, call.out_size());
}

Tensor unfolded_grad_input(const Call& call, const Tensor& grad, const Tensor& weight) {
  const Plain plain(call);
  const Tensor patches =
      torch::stable::matmul(torch::stable::transpose(kernel_matrices(call, weight), 2, 3),
                            matrices(grad, call.groups, false));
  return plain.narrow(aten::fold(
      reshaped(patches, {call.batch, call.in * call.kernel_y * call.kernel_x,
                         call.out_height * call.out_width}),
      plain.widened_size(), {call.kernel_y, call.kernel_x}, call.dilation(), plain.padding,
      call.stride()));
}

Tensor unfolded_grad_weight(const Call& call, const Tensor& grad, const Tensor& x) {
  const Plain plain(call);
  return torch::stable::matmul(
      matrices(grad, call.groups, false),
      torch::stable::transpose(patches_of(call, plain, plain.widen(x)), 2, 3));
}

// Whether kernels of this file convolve samples with kernels of their own.
bool is_dense(const Call& call, const Tensor& image) {
  return call.window.stride_y == 1 && call.window.stride_x == 1 && !call.is_depthwise() &&
         image.is_contiguous() &&
         (image.scalar_type() == ScalarType::Float || image.scalar_type() == ScalarType::Double);
}

// Measured: a grouped convolution of PyTorch's is the faster one, in float32 and where it multiplies
// bfloat16. With the vectors of AVX-512 it gains more than the kernels of this file.
bool is_better_grouped(const Call& call, const Tensor& image, Pass pass) {
  constexpr int64_t least_channels = 32, never = std::numeric_limits<int64_t>::max();
  const bool has_avx512 = rows<float>().product_lanes == 16;
  int64_t most_pixels = has_avx512 ? 11 * 11 : never;  // that do not pay for its call
  if (pass == Pass::forward && !has_avx512) most_pixels = 16 * 16;
  if (pass == Pass::grad_weight && has_avx512) most_pixels = 16 * 16;
  return call.window.stride_y == 1 && call.window.stride_x == 1 && image.is_contiguous() &&
         image.scalar_type() != ScalarType::Double &&
         call.out_height * call.out_width > most_pixels &&
         call.in / call.groups >= least_channels && call.out / call.groups >= least_channels;
}

template <typename Real>
const Real* reals(const Tensor& tensor) {
  return static_cast<const Real*>(tensor.const_data_ptr());
}

Tensor dense_forward(const Call& call, const Tensor& x, const Tensor& weight) {
  const Tensor kernels = packed(weight);
  Tensor out = new_output(x, call.out_size());
  with_real(numbers_of(x), [&](auto real) {
    using Real = decltype(real);
    dense(call.dense(call.sliding(), call.in, call.out), reals<Real>(x), reals<Real>(kernels),
          static_cast<Real*>(out.mutable_data_ptr()));
  });
  return out;
}

Tensor dense_grad_input(const Call& call, const Tensor& grad, const Tensor& weight) {
  const Tensor kernels = packed(weight);
  Tensor out = new_output(grad, call.x_size());
  with_real(numbers_of(grad), [&](auto real) {
    using Real = decltype(real);
    dense_mirrored(call.dense(call.sliding().mirrored(), call.out, call.in), reals<Real>(grad),
                   reals<Real>(kernels), static_cast<Real*>(out.mutable_data_ptr()));
  });
  return out;
}

Tensor dense_grad_weight(const Call& call, const Tensor& grad, const Tensor& x) {
  Tensor out = new_output(grad, Sizes{call.batch, call.out, call.in / call.groups, call.kernel_y,
                                      call.kernel_x});
  with_real(numbers_of(grad), [&](auto real) {
    using Real = decltype(real);
    dense_grad_kernels(call.dense(call.sliding(), call.in, call.out), reals<Real>(x),
                       reals<Real>(grad), static_cast<Real*>(out.mutable_data_ptr()));
  });
  return out;
}

// make(first, count), the result for so many samples side by side as groups, for all samples.
template <class Make>
Tensor side_by_side_results(const Call& call, const Tensor& like, const Sizes& size,
                            const Make& make) {
  const int64_t at_once = call.samples_at_once(like.element_size());
  if (at_once >= call.batch) return reshaped(make(0, call.batch), size);
  return piece_by_piece(new_output(like, size), at_once, [&](int64_t first, int64_t count) {
    Sizes part = size;
    part[0] = count;
    return reshaped(make(first, count), part);
  });
}

Tensor plain_forward(const Call& call, const Tensor& x, const Tensor& weight) {
  const Plain plain(call);
  const Tensor image = plain.widen(x);
  if (weight.size(0) == 1) {
    return aten::convolution(image, torch::stable::select(weight, 0, 0), call.stride(),
                             plain.padding, call.dilation(), call.groups);
  }
  const bool grouped = is_better_grouped(call, x, Pass::forward);
  if (is_dense(call, x) && !grouped) return dense_forward(call, x, weight);
  if (!grouped && call.has_few_pixels(kForwardKernelsPerPixel)) {
    return unfolded_forward(call, x, weight);
  }
  if (is_better_one_by_one(image)) {
    return one_by_one(empty_like(x, call.out_size(), true), [&](int64_t b) {
      return aten::convolution(sample(image, b), torch::stable::select(weight, 0, b),
                               call.stride(), plain.padding, call.dilation(), call.groups);
    });
  }
  return side_by_side_results(call, x, call.out_size(), [&](int64_t first, int64_t count) {
    return aten::convolution(side_by_side(samples(image, first, count)),
                             stacked(samples(weight, first, count)), call.stride(), plain.padding,
                             call.dilation(), count * call.groups);
  });
}

Tensor plain_grad_input(const Call& call, const Tensor& grad, const Tensor& weight) {
  const Plain plain(call);
  const Sizes size = plain.widened_size();
  if (weight.size(0) == 1) {
    const Tensor like = empty_like(grad, {call.batch, call.in, size[0], size[1]},
                                   is_channels_last(grad));
    return plain.narrow(aten::convolution_grad_input(
        grad, like, torch::stable::select(weight, 0, 0), call.stride(), plain.padding,
        call.dilation(), call.groups));
  }
  const bool grouped = is_better_grouped(call, grad, Pass::grad_input);
  if (is_dense(call, grad) && !grouped) return dense_grad_input(call, grad, weight);
  // Folding sums in the type that it is given.
  if (!grouped && grad.scalar_type() != ScalarType::BFloat16 &&
      call.has_few_pixels(kGradientKernelsPerPixel)) {
    return unfolded_grad_input(call, grad, weight);
  }
  if (is_better_one_by_one(grad)) {
    const Tensor like = empty_like(grad, {1, call.in, size[0], size[1]}, true);
    return one_by_one(empty_like(grad, call.x_size(), true), [&](int64_t b) {
      return plain.narrow(aten::convolution_grad_input(
          sample(grad, b), like, torch::stable::select(weight, 0, b), call.stride(),
          plain.padding, call.dilation(), call.groups));
    });
  }
  const Sizes widened{call.batch, call.in, size[0], size[1]};
  return plain.narrow(
      side_by_side_results(call, grad, widened, [&](int64_t first, int64_t count) {
        const Tensor like = empty_like(grad, {1, count * call.in, size[0], size[1]}, false);
        return aten::convolution_grad_input(side_by_side(samples(grad, first, count)), like,
                                            stacked(samples(weight, first, count)), call.stride(),
                                            plain.padding, call.dilation(), count * call.groups);
      }));
}

Tensor plain_grad_weight(const Call& call, const Tensor& grad, const Tensor& x) {
  const Plain plain(call);
  Sizes kernels = call.kernel_size();
  const bool grouped =
      is_better_grouped(call, x, Pass::grad_weight) && grad.is_contiguous();
  if (is_dense(call, x) && is_dense(call, grad) && !grouped) {
    return dense_grad_weight(call, grad, x);
  }
  if (!grouped && call.batch > 1 && call.has_few_pixels(kGradientKernelsPerPixel)) {
    return unfolded_grad_weight(call, grad, x);
  }
  if (is_better_one_by_one(x)) {
    const Tensor image = plain.widen(x);
    Tensor out = torch::stable::new_empty(
        grad, Sizes{call.batch, kernels[0], kernels[1], kernels[2], kernels[3]});
    return one_by_one(out, [&](int64_t b) {
      return torch::stable::unsqueeze(
          aten::convolution_grad_weight(sample(grad, b), sample(image, b), kernels, call.stride(),
                                        plain.padding, call.dilation(), call.groups),
          0);
    });
  }
  const Tensor image = plain.widen(x);
  const Sizes size{call.batch, kernels[0], kernels[1], kernels[2], kernels[3]};
  return side_by_side_results(call, grad, size, [&](int64_t first, int64_t count) {
    return aten::convolution_grad_weight(
        side_by_side(samples(grad, first, count)), side_by_side(samples(image, first, count)),
        {count * kernels[0], kernels[1], kernels[2], kernels[3]}, call.stride(), plain.padding,
        call.dilation(), count * call.groups);
  });
}

Call call_of(const Tensor& image, const char* image_name, const Tensor& weight, Sizes size,
             Sizes stride, Sizes padding, Sizes dilation, int64_t groups, bool backward) {
  check_rank(image_name, image, 4);
  check_rank("weight", weight, 5);
  check_alike("weight", weight, image);
  check_pair("size", size, 0);
  check_size("weight", weight, 0, image.size(0));
  check_groups("groups", weight.size(1), groups);
  const int64_t in = weight.size(2) * groups, out = weight.size(1);
  check_size(image_name, image, 1, backward ? out : in);
  STD_TORCH_CHECK(weight.size(3) > 0 && weight.size(4) > 0,
                  "weight: expected kernels of at least 1 x 1, got shape ", text_of(weight));
  const int64_t height = image.size(2), width = image.size(3);
  return {image.size(0),
          in,
          out,
          groups,
          backward ? size[0] : height,
          backward ? size[1] : width,
          backward ? height : size[0],
          backward ? width : size[1],
          weight.size(3),
          weight.size(4),
          window_of(stride, padding, dilation)};
}

// Whether depthwise kernels are left to PyTorch: it puts channels into the lanes of a vector, which
// few pixels do not fill. Where it multiplies bfloat16 it does not convert that, as ours do. Measured.
bool is_tiny_depthwise(const Call& call, const Tensor& image, bool channels_last, Pass pass) {
  constexpr int64_t least_planes = 128;  // what its call costs beside ours
  const bool narrow = is_narrow(image, call, pass);
  const int64_t most_pixels = narrow ? 32 * 32 : 8 * 8;
  return !channels_last && (narrow || image.scalar_type() == ScalarType::Float) &&
         call.out_height * call.out_width <= most_pixels && call.batch * call.out >= least_planes;
}

bool is_empty(const Tensor& tensor) { return tensor.numel() == 0; }

Tensor zeros(const Tensor& like, const Sizes& size, bool channels_last) {
  Tensor out = empty_like(like, size, channels_last);
  torch::stable::zero_(out);
  return out;
}

Tensor forward(const Tensor& x, const Tensor& weight, Sizes size, Sizes stride, Sizes padding,
               Sizes dilation, int64_t groups) {
  const Call call = call_of(x, "x", weight, size, stride, padding, dilation, groups, false);
  const bool channels_last = is_channels_last(x);
  if (is_empty(x) || is_empty(weight) || size[0] == 0 || size[1] == 0) {
    return zeros(x, call.out_size(), channels_last);
  }
  const Tensor image = laid_out(x, channels_last);
  if (call.is_depthwise() && !is_tiny_depthwise(call, x, channels_last, Pass::forward)) {
    const Tensor kernels = packed(weight);
    Tensor out = empty_like(x, call.out_size(), channels_last);
    const Numbers numbers = numbers_of(x);
    with_real(numbers, [&](auto real) {
      depthwise<decltype(real)>(call.depthwise(call.sliding(), channels_last), numbers, image.const_data_ptr(),
                                kernels.const_data_ptr(), false, out.mutable_data_ptr());
    });
    return out;
  }
  const Tensor wide = widened(image, call, Pass::forward),
               kernels = widened(distinct(weight), call, Pass::forward);
  if (call.is_product(channels_last)) {
    const Tensor pixels = matrices(wide, groups, channels_last), mix = mixing(kernels, groups);
    const Tensor mixed =
        channels_last ? torch::stable::matmul(pixels, torch::stable::transpose(mix, 2, 3))
                      : torch::stable::matmul(mix, pixels);
    return as_result(image_of(mixed, call.out_size(), channels_last), x, channels_last);
  }
  return as_result(plain_forward(call, wide, kernels), x, channels_last);
}

Tensor grad_input(const Tensor& grad, const Tensor& weight, Sizes size, Sizes stride,
                  Sizes padding, Sizes dilation, int64_t groups) {
  const Call call = call_of(grad, "grad", weight, size, stride, padding, dilation, groups, true);
  const bool channels_last = is_channels_last(grad);
  if (is_empty(grad) || is_empty(weight) || size[0] == 0 || size[1] == 0) {
    return zeros(grad, call.x_size(), channels_last);
  }
  const Tensor from = laid_out(grad, channels_last);
  if (call.is_depthwise() && !is_tiny_depthwise(call, grad, channels_last, Pass::grad_input)) {
    const Tensor kernels = packed(weight);
    Tensor out = empty_like(grad, call.x_size(), channels_last);
    const Numbers numbers = numbers_of(grad);
    with_real(numbers, [&](auto real) {
      depthwise<decltype(real)>(call.depthwise(call.sliding().mirrored(), channels_last), numbers, from.const_data_ptr(),
                                kernels.const_data_ptr(), true, out.mutable_data_ptr());
    });
    return out;
  }
  const Tensor wide = widened(from, call, Pass::grad_input),
               kernels = widened(distinct(weight), call, Pass::grad_input);
  if (call.is_product(channels_last)) {
    const Tensor pixels = matrices(wide, groups, channels_last), mix = mixing(kernels, groups);
    const Tensor mixed =
        channels_last ? torch::stable::matmul(pixels, mix)
                      : torch::stable::matmul(torch::stable::transpose(mix, 2, 3), pixels);
    return as_result(image_of(mixed, call.x_size(), channels_last), grad, channels_last);
  }
  return as_result(plain_grad_input(call, wide, kernels), grad, channels_last);
}

Tensor grad_weight(const Tensor& grad, const Tensor& x, Sizes kernel, Sizes stride, Sizes padding,
                   Sizes dilation, int64_t groups) {
  check_rank("grad", grad, 4);
  check_rank("x", x, 4);
  check_alike("x", x, grad);
  check_pair("kernel", kernel, 1);
  check_size("x", x, 0, grad.size(0));
  check_groups("groups", grad.size(1), groups);
  check_groups("groups", x.size(1), groups);
  const Call call{x.size(0), x.size(1),    grad.size(1), groups,    x.size(2),
                  x.size(3), grad.size(2), grad.size(3), kernel[0], kernel[1],
                  window_of(stride, padding, dilation)};
  const Sizes size{call.batch, call.out, call.in / groups, kernel[0], kernel[1]};
  if (is_empty(grad) || is_empty(x)) return zeros(grad, size, false);
  const bool channels_last = is_channels_last(x);
  const Tensor image = laid_out(x, channels_last),
               from = laid_out(grad, channels_last);
  // With many taps there are sums enough to fill the lanes.
  const bool many_taps = kernel[0] * kernel[1] > 9;
  if (call.is_depthwise() &&
      (many_taps || !is_tiny_depthwise(call, x, channels_last, Pass::grad_weight))) {
    Tensor out = torch::stable::new_empty(grad, size);
    const Numbers numbers = numbers_of(grad);
    with_real(numbers, [&](auto real) {
      depthwise_grad_kernels<decltype(real)>(call.depthwise(call.sliding(), channels_last), numbers,
                                             image.const_data_ptr(), from.const_data_ptr(),
                                             out.mutable_data_ptr());
    });
    return out;
  }
  const Tensor wide = widened(image, call, Pass::grad_weight),
               wide_grad = widened(from, call, Pass::grad_weight);
  Tensor out;
  if (call.is_product(channels_last)) {
    const Tensor pixels = matrices(wide, groups, channels_last),
                 grads = matrices(wide_grad, groups, channels_last);
    out = channels_last
              ? torch::stable::matmul(torch::stable::transpose(grads, 2, 3), pixels)
              : torch::stable::matmul(grads, torch::stable::transpose(pixels, 2, 3));
  } else {
    out = plain_grad_weight(call, wide_grad, wide);
  }
  return as_result(reshaped(out, size), grad, false);
}

}  // namespace
}  // namespace ksdiff_ops::cpu

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, CPU, m) {
  m.impl("batched_conv2d", TORCH_BOX(&ksdiff_ops::cpu::forward));
  m.impl("batched_conv2d_grad_input", TORCH_BOX(&ksdiff_ops::cpu::grad_input));
  m.impl("batched_conv2d_grad_weight", TORCH_BOX(&ksdiff_ops::cpu::grad_weight));
}
