// adaptive_conv2d where planes are small and the kernel is large. A strip of pixels is too few for
// every number of the kernel that has to be fetched for it: the patches of whole planes, some
// megabytes at a time, are multiplied by PyTorch's product of matrices instead.
#pragma once

#include "neighbourhoods.h"

namespace ksdiff_ops::cpu {

template <class Way>
bool is_for_whole_planes(const Problem& problem) {
  constexpr int64_t second_cache = 256 * 1024, most_bytes = 4 << 20, longest_row = 48;
  constexpr int64_t bytes = sizeof(typename Way::Real);
  return problem.shape.width <= longest_row &&
         problem.patch() * problem.others * bytes > second_cache &&
         problem.patch() * problem.shape.image_plane() * bytes <= most_bytes;
}

// The kernel [Cout, Cin, kh, kw] as [Cout, Cin * taps], or as [Cin, Cout * taps] with its taps from
// the last to the first, in what sums are made in.
template <class Way>
Tensor as_matrix(const Tensor& weight);
template <class Way>
Tensor as_mirrored_matrix(const Tensor& weight);

// out[o][p] = sum over channels and taps of matrix[o][c, tap] * the scaled neighbours of p
template <class Way>
void convolve_planes(const Problem& problem, Numbers numbers, const void* image,
                     const void* attention, bool mirrored, const Tensor& matrix,
                     const Tensor& out);

// out[tap][p] = sum over channels of image[c][neighbour of p] * (matrix[c, tap][o] . grad[o][p])
template <class Way>
void correlate_planes(const Problem& problem, Numbers numbers, const void* image, const void* grad,
                      const Tensor& matrix, const Tensor& out);

// out[o][c, tap] = sum over pixels of the scaled neighbours of p * grad[o][p]
template <class Way>
void accumulate_planes(const Problem& problem, Numbers numbers, const void* image,
                       const void* attention, const void* grad, const Tensor& out);

}  // namespace ksdiff_ops::cpu
