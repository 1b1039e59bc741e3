/* Loads a library of the kernels and prints, bit by bit, what a small circuit computes forwards and
 * backwards in it. The same numbers come from any system, so two libraries can be compared. */

#include <stdio.h>
#include <stdlib.h>

#include "ltc.h"

#ifdef _WIN32
#include <windows.h>
#define OPEN(path) ((void *)LoadLibraryA(path))
#define FIND(library, name) ((void *)GetProcAddress((HMODULE)(library), name))
#else
#include <dlfcn.h>
#define OPEN(path) dlopen(path, RTLD_NOW)
#define FIND(library, name) dlsym(library, name)
#endif

enum { B = 21, T = 9, I = 3, N = 5, O = 1, S = 14, UNFOLDS = 3, LAYERS = 3 };
enum { SAMPLES = (B + 15) / 16 * 16, TAPE = SAMPLES * T * UNFOLDS * 7 * N };

static uint64_t seed = 1;

/* A number between low and high, the same on every system. */
static real draw(double low, double high) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (real)(low + (high - low) * (double)(seed >> 40) / (double)(1 << 24));
}

/* Such numbers, from a cache line on, as torch's arrays begin. */
static real *draw_many(int count, double low, double high) {
    char *memory = malloc(count * sizeof(real) + 64);
    real *values = (real *)(((uintptr_t)memory + 63) / 64 * 64);
    for (int k = 0; k < count; k++) values[k] = draw(low, high);
    return values;
}

static void print(const char *name, const real *values, int count) {
    printf("%s", name);
    for (int k = 0; k < count; k++) printf(" %a", (double)values[k]);
    printf("\n");
}

int main(int count, char **words) {
    void *library = count == 2 ? OPEN(words[1]) : NULL;
    if (!library) return 2;
    int (*forward)(struct sequence *) = FIND(library, "ncp_ltc_forward");
    int (*adjoint)(struct sequence *) = FIND(library, "ncp_ltc_adjoint");
    if (!forward || !adjoint) return 3;
    /* Inputs 0 to 2 excite neurons 0 and 1; these 2 and 3, which know each other; these neuron 4. */
    int64_t source[S] = {0, 1, 2, 0, 2, 3, 4, 6, 3, 4, 5, 6, 5, 6};
    int64_t target[S] = {0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4};
    int64_t layer[3 * LAYERS] = {0, 2, 0, 2, 4, 1, 4, 5, 0};
    real sign[S];
    for (int k = 0; k < S; k++) sign[k] = k % 3 ? 1 : -1;
    for (int integrator = 0; integrator < 2; integrator++) {
        struct sequence q = {
            .batch = B, .steps = T, .inputs = I, .neurons = N, .synapses = S, .layers = LAYERS,
            .outputs = O, .unfolds = UNFOLDS, .integrator = integrator, .threads = 3, .frame_s = 1,
            .input = draw_many(B * T * I, -1, 1), .state = draw_many(B * N, -1, 1),
            .dt_s = draw_many(B * T, 0, 0.2),
            .raw_capacitance = draw_many(N, -1, 1), .raw_leak_conductance = draw_many(N, -1, 1),
            .leak_potential = draw_many(N, -1, 1), .raw_weight = draw_many(S, -1, 1),
            .threshold = draw_many(S, -1, 1), .slope = draw_many(S, 2, 6),
            .raw_reversal = draw_many(S, -1, 1), .input_scale = draw_many(I, 0.5, 2),
            .input_offset = draw_many(I, -1, 1), .output_scale = draw_many(O, 0.5, 2),
            .output_offset = draw_many(O, -1, 1), .source = source, .target = target,
            .sign = sign, .layer = layer, .states = draw_many(B * T * N, 0, 0),
            .output = draw_many(B * T * O, 0, 0), .tape = draw_many(TAPE, 0, 0),
            .states_bar = draw_many(B * T * N, -1, 1), .output_bar = draw_many(B * T * O, -1, 1),
            .input_bar = draw_many(B * T * I, 0, 0), .state_bar = draw_many(B * N, 0, 0),
            .dt_s_bar = draw_many(B * T, 0, 0), .raw_capacitance_bar = draw_many(N, 0, 0),
            .raw_leak_conductance_bar = draw_many(N, 0, 0), .leak_potential_bar = draw_many(N, 0, 0),
            .raw_weight_bar = draw_many(S, 0, 0), .threshold_bar = draw_many(S, 0, 0),
            .slope_bar = draw_many(S, 0, 0), .raw_reversal_bar = draw_many(S, 0, 0),
            .input_scale_bar = draw_many(I, 0, 0), .input_offset_bar = draw_many(I, 0, 0),
            .output_scale_bar = draw_many(O, 0, 0), .output_offset_bar = draw_many(O, 0, 0),
        };
        int status = forward(&q);
        if (!status) status = adjoint(&q);
        if (status) return 4;
        print("states", q.states, B * T * N);
        print("output", q.output, B * T * O);
        print("input_bar", q.input_bar, B * T * I);
        print("weight_bar", q.raw_weight_bar, S);
        print("slope_bar", q.slope_bar, S);
        print("capacitance_bar", q.raw_capacitance_bar, N);
    }
    return 0;
}
