// A kernel that slides over a plane, one pixel at a time.
#pragma once

#include <cstdint>

namespace ksdiff_ops::cpu {

struct Sliding {
  int64_t height, width;  // of the image
  int64_t kernel_y, kernel_x;
  int64_t out_height, out_width;
  int64_t padding_y, padding_x;  // above the first row, left of the first column
  int64_t dilation_y, dilation_x;

  int64_t taps() const { return kernel_y * kernel_x; }
  int64_t margin_y() const { return (kernel_y - 1) * dilation_y; }
  int64_t margin_x() const { return (kernel_x - 1) * dilation_x; }
  int64_t image_plane() const { return height * width; }
  int64_t out_plane() const { return out_height * out_width; }

  // The same, as the gradient of the image sees it: taps lead in the opposite direction.
  Sliding mirrored() const {
    return {out_height,
            out_width,
            kernel_y,
            kernel_x,
            height,
            width,
            margin_y() - padding_y,
            margin_x() - padding_x,
            dilation_y,
            dilation_x};
  }
};

}  // namespace ksdiff_ops::cpu
