// The row functions for the compiler's default.
#include "rows.h"

#define KSDIFF_INSTRUCTION_SET generic
#define KSDIFF_INSTRUCTION_SET_NAME "generic"
#define KSDIFF_VECTOR_BYTES 16
#include "rows_kernels.h"
