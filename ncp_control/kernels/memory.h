/* Memory for vectors. */

#ifndef NCP_MEMORY_H
#define NCP_MEMORY_H

#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, bytes) /* only in a build with the address sanitizer */
#endif

#ifdef _WIN32 /* has no aligned_alloc; its replacement needs its own function to free memory */
#include <malloc.h>
#define aligned_alloc(line, bytes) _aligned_malloc(bytes, line)
#define release _aligned_free
#else
#define release free
#endif

/* Return zeroed memory that begins at a cache line, or NULL; free it with `release`. */
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
