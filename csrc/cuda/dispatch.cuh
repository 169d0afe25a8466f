// Host code between a plan and its kernel: which template runs, and with which parameters. A
// `Launcher` starts a kernel with a grid: on a GPU, or thread by thread on the host in tests.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <type_traits>

#include "../launch_plan.h"
#include "pixel_conv.cuh"
#include "vocabulary.cuh"

namespace ksdiff_ops::cuda {

struct Grid {
  int64_t blocks;
  int threads_x, threads_y;
  int shared_bytes;
};

inline Grid grid_of(const ConvPlan& plan) {
  return {plan.blocks, plan.threads_x, plan.threads_y, plan.shared_bytes};
}

template <typename T>
struct Type {
  using type = T;
};

// Calls body(Type<T>{}) with the number type of `kind`.
template <class Body>
void with_scalar(ScalarKind kind, Body&& body) {
  switch (kind) {
    case ScalarKind::float32: return body(Type<float>{});
    case ScalarKind::float64: return body(Type<double>{});
    case ScalarKind::float16: return body(Type<__half>{});
    case ScalarKind::bfloat16: return body(Type<__nv_bfloat16>{});
  }
}

// Calls body(integral_constant<int, k>) with a fast variant's kernel size.
template <class Body>
void with_kernel(int kernel, Body&& body) {
  switch (kernel) {
    case 3: return body(std::integral_constant<int, 3>{});
    case 5: return body(std::integral_constant<int, 5>{});
    case 7: return body(std::integral_constant<int, 7>{});
    default: throw std::logic_error("launch plan: a fast variant without its kernel size");
  }
}

// Calls general(Type<T>{}), or fast(Type<T>{}, integral_constant<int, k>) with the plan's size.
// The fast variants do not exist in double precision.
template <class General, class Fast>
void with_variant(const ConvPlan& plan, ScalarKind scalar, General&& general, Fast&& fast) {
  with_scalar(scalar, [&](auto type) {
    using T = typename decltype(type)::type;
    if (plan.variant == Variant::general) return general(type);
    if constexpr (std::is_same_v<T, double>) {
      throw std::logic_error("launch plan: a fast variant for double precision");
    } else {
      with_kernel(plan.kernel, [&](auto kernel) { fast(type, kernel); });
    }
  });
}

// Whether rows of `width` pixels at these addresses can be moved in vectors of `bytes`.
inline bool vectors_fit(int width, int pixels, int bytes_per_scalar,
                        std::initializer_list<const void*> addresses) {
  if (width % pixels != 0) return false;
  for (const void* address : addresses) {
    if (reinterpret_cast<std::uintptr_t>(address) % (pixels * bytes_per_scalar) != 0) return false;
  }
  return true;
}

// Whether rows of the image are staged in whole pieces: they start on a multiple of a piece, and
// so does the tile in them.
inline bool pieces_fit(const ConvParams& p, const ConvPlan& plan, ScalarKind scalar,
                       std::initializer_list<const void*> images) {
  const int piece = 16 / scalar_bytes(scalar);
  return (p.pad_w - plan.kernel / 2) % piece == 0 &&
         vectors_fit(p.in_w, piece, scalar_bytes(scalar), images);
}

// `images` are the planes that are staged.
inline ConvParams conv_params(const ConvShape& s, const ConvPlan& plan, ConvRole role,
                              ScalarKind scalar, bool aligned,
                              std::initializer_list<const void*> images) {
  const bool mirrored = role == ConvRole::grad_input;
  const bool reversed_taps = mirrored && plan.variant != Variant::general;
  ConvParams p;
  p.channels = s.channels;
  p.groups = s.groups;
  p.group_channels = s.channels / s.groups;
  p.in_h = mirrored ? s.out_h : s.in_h;
  p.in_w = mirrored ? s.out_w : s.in_w;
  p.out_h = mirrored ? s.in_h : s.out_h;
  p.out_w = mirrored ? s.in_w : s.out_w;
  p.kernel_h = s.kernel_h;
  p.kernel_w = s.kernel_w;
  p.stride_h = s.stride_h;
  p.stride_w = s.stride_w;
  p.pad_h = reversed_taps ? s.kernel_h - 1 - s.pad_h : s.pad_h;
  p.pad_w = reversed_taps ? s.kernel_w - 1 - s.pad_w : s.pad_w;
  p.dilation_h = s.dilation_h;
  p.dilation_w = s.dilation_w;
  p.rank = s.rank;
  p.tiles_x = plan.tiles_x;
  p.tiles_y = plan.tiles_y;
  p.splits = role == ConvRole::correlate ? plan.tiles_x * plan.tiles_y : plan.splits;
  p.split_channels = plan.split_channels;
  p.aligned = aligned;
  p.pieces = plan.variant == Variant::staged && pieces_fit(p, plan, scalar, images);
  return p;
}

}  // namespace ksdiff_ops::cuda
