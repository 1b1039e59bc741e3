/* Memory for vectors. */

#ifndef NCP_MEMORY_H
#define NCP_MEMORY_H

#include <stdlib.h>
#include <string.h>

/* Return zeros that begin at a cache line, or NULL. */
static void *allocate(size_t bytes) {
    const size_t line = 64, whole = (bytes + line) / line * line;
    void *memory = aligned_alloc(line, whole);
    if (memory) memset(memory, 0, whole);
    return memory;
}

#endif
