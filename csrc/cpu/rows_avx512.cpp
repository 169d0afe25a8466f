// The row functions for AVX-512 (F, BW, DQ, VL).
#include "rows.h"

#define KSDIFF_INSTRUCTION_SET avx512
#define KSDIFF_INSTRUCTION_SET_NAME "avx512"
#define KSDIFF_VECTOR_BYTES 64
#include "rows_kernels.h"
