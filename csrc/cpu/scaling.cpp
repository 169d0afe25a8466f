#include "scaling.h"

#include "aten.h"
#include "stored.h"

namespace ksdiff_ops::cpu {
namespace {

// Numbers of a plane that one task takes. Planes are read and written in long runs, unless what is
// widened of them has to stay in the first cache.
template <typename Stored>
constexpr bool kRounds = !std::is_same_v<Stored, SumOf<Stored>>;
template <typename Stored>
constexpr int64_t kScaledSpan = kRounds<Stored> ? 2048 : 16384;
template <typename Stored>
constexpr int64_t kSummedSpan = kRounds<Stored> ? 512 : 2048;

// Calls body(plane, first, count) for spans of some planes, each number of which takes part in so
// many products.
template <class Body>
void for_spans(int64_t planes, int64_t plane, int64_t span, int64_t products, const Body& body) {
  // A number is read and written for every product: about as long as so many products take.
  constexpr int64_t products_per_number = 4;
  const int64_t spans = ceil_div(plane, span);
  for_tasks(planes * spans, std::min(span, plane) * products * products_per_number,
            [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % spans * span;
      body(task / spans, first, std::min(span, plane - first));
    }
  });
}

// Some neighbouring numbers as what they are summed in, copied only where they are stored in less.
template <typename Stored>
const SumOf<Stored>* widen(Numbers numbers, const Stored* source, int64_t count,
                           SumOf<Stored>* room) {
  if constexpr (kRounds<Stored>) {
    load_row(numbers, source, 0, count, room);
    return room;
  } else {
    return source;
  }
}

template <typename Stored>
void forward(const Shape& shape, Numbers numbers, const Stored* image, const Stored* kernels,
             Stored* out) {
  const int64_t plane = shape.out_plane();
  for_spans(shape.batch * shape.groups * shape.channels, plane, kScaledSpan<Stored>, 1,
            [&](int64_t index, int64_t first, int64_t count) {
    SumOf<Stored> room[kRounds<Stored> ? kScaledSpan<Stored> : 1];
    Streams<Stored, Stored> streams{};
    streams.left[0] = streams.soon[0] = image + index * plane + first;
    streams.right[0] =
        widen(numbers, kernels + index / shape.channels * plane + first, count, room);
    streams.out = out + index * plane + first;
    streams.terms = 1;
    streams.rows = 1;
    streams.columns = count;
    stream(streams);
  });
}

template <typename Stored>
void grad_weight(const Shape& shape, Numbers numbers, const Stored* grad, const Stored* image,
                 Stored* out) {
  using Real = SumOf<Stored>;
  const int64_t plane = shape.out_plane(), channels = shape.channels;
  for_spans(shape.batch * shape.groups, plane, kSummedSpan<Stored>, channels,
            [&](int64_t index, int64_t first, int64_t count) {
    constexpr int64_t numbers_of_plane = kSummedSpan<Stored>;
    Real room[kMostStreams * numbers_of_plane], sums[numbers_of_plane];
    Stored* const target = out + index * plane + first;
    for (int64_t c = 0; c < channels; c += kMostStreams) {
      const int64_t terms = std::min(channels - c, kMostStreams);
      const auto sum = [&](auto* to_here) {
        Streams<Stored, std::remove_pointer_t<decltype(to_here)>> streams{};
        for (int64_t term = 0; term < terms; ++term) {
          const int64_t place = (index * channels + c + term) * plane + first;
          streams.left[term] = streams.soon[term] = grad + place;
          streams.right[term] = widen(numbers, image + place, count,
                                      room + term * numbers_of_plane);
        }
        streams.terms = static_cast<int>(terms);
        streams.rows = 1;
        streams.columns = count;
        streams.base = c > 0 ? sums : nullptr;
        streams.out = to_here;
        stream(streams);
      };
      if (c + terms < channels) {
        sum(static_cast<Real*>(sums));
      } else {
        sum(target);
      }
    }
  });
}

}  // namespace

bool scales(const Shape& shape, const Window& window) {
  return shape.taps() == 1 && window.stride_y == 1 && window.stride_x == 1 &&
         window.padding_y == 0 && window.padding_x == 0 && shape.height == shape.out_height &&
         shape.width == shape.out_width;
}

Tensor scale(const Shape& shape, const Tensor& image, const Tensor& kernels) {
  // PyTorch's own product is the faster one, and costs a few calls.
  constexpr int64_t worth_the_calls = 1 << 16;
  const int64_t planes = shape.batch * shape.groups, channels = shape.channels;
  const Sizes sizes{shape.batch, shape.groups * channels, shape.height, shape.width};
  if (image.numel() >= worth_the_calls) {
    const Tensor factors = reshaped(kernels, {shape.batch, shape.groups, shape.height, shape.width});
    if (shape.groups == 1 || channels == 1) return aten::multiply(image, factors);
    const int64_t plane = shape.image_plane();
    return reshaped(aten::multiply(reshaped(image, {planes, channels, plane}),
                                   reshaped(factors, {planes, 1, plane})),
                    sizes);
  }
  Tensor out = new_output(image, sizes);
  const Numbers numbers = numbers_of(image);
  with_stored(numbers, [&](auto stored) {
    using Stored = decltype(stored);
    forward(shape, numbers, static_cast<const Stored*>(image.const_data_ptr()),
            static_cast<const Stored*>(kernels.const_data_ptr()),
            static_cast<Stored*>(out.mutable_data_ptr()));
  });
  return out;
}

void scale_grad_weight(const Shape& shape, Numbers numbers, const void* grad, const void* image,
                       void* out) {
  with_stored(numbers, [&](auto stored) {
    using Stored = decltype(stored);
    grad_weight(shape, numbers, static_cast<const Stored*>(grad),
                static_cast<const Stored*>(image), static_cast<Stored*>(out));
  });
}

}  // namespace ksdiff_ops::cpu
