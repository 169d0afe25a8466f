// The row functions for AVX2 with FMA and F16C.
#include "rows.h"

#define KSDIFF_INSTRUCTION_SET avx2
#define KSDIFF_INSTRUCTION_SET_NAME "avx2"
#define KSDIFF_VECTOR_BYTES 32
#include "rows_kernels.h"
