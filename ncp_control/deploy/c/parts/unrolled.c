/* Repeat a statement for each k of a block, and for each place p. The repetitions are written out, so
 * that compilers keep a block in registers whatever their settings. */
#define FOR_1(STATEMENT) { enum { k = 0 }; STATEMENT; }
#define FOR_2(STATEMENT)                                                          \
    { enum { k = 0 }; STATEMENT; } { enum { k = 1 }; STATEMENT; }
#define FOR_4(STATEMENT)                                                          \
    FOR_2(STATEMENT)                                                              \
    { enum { k = 2 }; STATEMENT; } { enum { k = 3 }; STATEMENT; }
#define FOR_8(STATEMENT)                                                          \
    FOR_4(STATEMENT)                                                              \
    { enum { k = 4 }; STATEMENT; } { enum { k = 5 }; STATEMENT; }                 \
    { enum { k = 6 }; STATEMENT; } { enum { k = 7 }; STATEMENT; }
#define FOR_PLACES(STATEMENT)                                                     \
    { enum { p = 0 }; STATEMENT; } { enum { p = 1 }; STATEMENT; }                 \
    { enum { p = 2 }; STATEMENT; } { enum { p = 3 }; STATEMENT; }
