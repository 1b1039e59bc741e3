/* Memory for vectors. */

#ifndef NCP_MEMORY_H
#define NCP_MEMORY_H

#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, bytes) /* only for a build that looks for faults */
#endif

#ifdef _WIN32 /* has no aligned_alloc, and what stands for it has a `free` of its own */
#include <malloc.h>
#define aligned_alloc(line, bytes) _aligned_malloc(bytes, line)
#define release _aligned_free
#else
#define release free
#endif

/* Return zeros that begin at a cache line, or NULL; `release` gives them back. */
static void *allocate(size_t bytes) {
    const size_t line = 64, whole = (bytes + line) / line * line;
    void *memory = aligned_alloc(line, whole);
    if (memory) {
        memset(memory, 0, whole);
        ASAN_POISON_MEMORY_REGION((char *)memory + bytes, whole - bytes);
    }
    return memory;
}

#endif
