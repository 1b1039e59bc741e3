/* Repeat a statement for each k of a block. That of 8 is written out, so that compilers keep the
 * block in registers whatever their settings. */
#define FOR_1(STATEMENT) { enum { k = 0 }; STATEMENT; }
#define FOR_8(STATEMENT)                                                          \
    { enum { k = 0 }; STATEMENT; } { enum { k = 1 }; STATEMENT; }                 \
    { enum { k = 2 }; STATEMENT; } { enum { k = 3 }; STATEMENT; }                 \
    { enum { k = 4 }; STATEMENT; } { enum { k = 5 }; STATEMENT; }                 \
    { enum { k = 6 }; STATEMENT; } { enum { k = 7 }; STATEMENT; }
#define FOR_16(STATEMENT) for (int k = 0; k < 16; k++) STATEMENT;
#define FOR_32(STATEMENT) for (int k = 0; k < 32; k++) STATEMENT;
