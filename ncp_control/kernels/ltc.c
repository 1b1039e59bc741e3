/* The liquid time-constant circuit over a sequence: forward, adjoint, and one control step.
 *
 * The equations are those of the reference, ncp_control/cells/ltc.py and integrators.py:
 *
 *     C dv_i/dt = b_i − a_i v_i
 *     a_i = g + Σ_k w s(u_k) + Σ_j w s(v_j)           total conductance
 *     b_i = g V + Σ_k w E s(u_k) + Σ_j w E s(v_j)     drive
 *
 * | symbol | here                     | what                                              |
 * |--------|--------------------------|---------------------------------------------------|
 * | v      | potential, start         | membrane potential                                |
 * | u      | input (α, β folded in)   | input, scaled by α and shifted by β               |
 * | C      | capacitance_s            | capacitance [s]                                   |
 * | g, V   | leak, leak_drive = g V   | leak conductance and potential                    |
 * | w, E   | weight, reversal         | of a synapse                                      |
 * | s      | opening                  | share of open channels, s(x; μ, γ): see effective.h |
 * | a, b   | conductance, drive       | of a neuron                                       |
 * | h      | h_s                      | sub-step, elapsed time / unfolds [s]              |
 * | x̄      | x_bar                    | derivative of the loss with respect to x          |
 *
 * A `vector` holds LANES samples of the batch; such a group is a block. Lanes never mix, so a NaN
 * stays in its sample. Synapses are processed in the order of their targets: sensory synapses once
 * per step, because their input is constant, inner synapses at every sub-step.
 *
 * SEMI-IMPLICIT EULER   v' = v + h y,  y = (b − a v) / D,  D = C + h a
 *     which equals (C v + h b) / D, and leaves v bitwise unchanged for h = 0.
 *     With q = v̄' / D, and since b − a v' = C y:
 *         b̄ = h q     ā = −h q v'     C̄ = −h q y     h̄ = q C y     v̄ = q C + …
 *
 * RELAXATION with constant a and b, for a fraction f of h   v' = v + F (R − v)
 *     R = b / a,  F = 1 − exp(−f h a / C).  With G = v̄' (R − v)(1 − F) f / C:
 *         b̄ = v̄' F / a   ā = h G − b̄ R   C̄ = −h G a / C   h̄ = G a   v̄ = v̄' (1 − F) + …
 *
 * LAYERED MIDPOINT   For each layer in order: relax by h/2 to the midpoint m, using the midpoints
 *     of earlier layers and the start v of the own layer; if the layer is recurrent, evaluate its
 *     own synapses again at m; relax from v by h.
 *
 * A SYNAPSE j → i adds w s(x_j) to a_i and w E s(x_j) to b_i. With k = ā_i + E b̄_i and
 *     d = k s (1 − s):
 *         w̄ = Σ k s     Ē = w Σ b̄ s     μ̄ = −γ w Σ d     γ̄ = w (Σ d x_j − μ Σ d)
 *         x̄_j = Σ γ w d                                             (the dots above)
 *     The first four sums run over samples, steps and sub-steps. ᾱ and β̄ follow from them.
 *
 * The tape keeps the results of the integrator at every sub-step. The adjoint computes the sigmoids
 * again, because reading them back would take as long. Source of the equations: Hasani et al. 2021
 * (arXiv 2006.04439); the adjoint is derived here.
 *
 * | file         | what it holds                                             |
 * |--------------|-----------------------------------------------------------|
 * | `ltc.h`      | the arguments from Python                                 |
 * | `vector.h`   | LANES numbers side by side; 2^z and the sigmoid           |
 * | `circuit.h`, `effective.h` | a wiring, and its effective parameters    |
 * | `rows.h`     | conversion of arrays to vectors of samples and back       |
 * | `synapses.h` | a neuron's sums over its synapses, and their adjoint      |
 * | `block.h`    | a thread's memory, and the tape                           |
 * | `euler.h`, `midpoint.h` | one sub-step, and its adjoint                  |
 * | `forward.h`, `adjoint.h` | a sequence                                    |
 * | `threads.h`  | distribution of the batch over threads                    |
 * | `plan.h`, `step.h` | one control step                                    |
 * | `ltc_narrow.c` | the same code compiled for vectors half as wide         |
 */

#include "adjoint.h"
#include "forward.h"
#ifndef NARROW
#include "step.h"
#endif

/* A batch that fills at most half a vector runs with vectors half as wide, where available. */
int ncp_ltc_narrow_forward(const struct sequence *q);
int ncp_ltc_narrow_adjoint(const struct sequence *q);
#if HAS_AVX512 && defined(__AVX512VL__)
#define IS_NARROW(q) ((q)->batch <= LANES / 2)
#else
#define IS_NARROW(q) 0
#endif

/* Process blocks together if their sums outgrow the cache, but never all of them, so that a second
 * thread has work. The choice must not depend on the threads: rounding would depend on them too. */
static int choose_blocks_together(const struct sequence *q) {
    const size_t cache_bytes = 1 << 20;
    const int64_t half = count_blocks(extent_of(q)) / 2;
    if (q->synapses * sizeof(struct synapse_sums) < cache_bytes || half < 2) return 1;
    return half < MOST_BLOCKS ? (int)half : MOST_BLOCKS;
}

static int run_task(struct task *task, void (*work)(struct team *, int64_t, void *)) {
    const int64_t blocks = count_blocks(extent_of(task->sequence)), together = task->blocks_together;
    struct block block;
    task->block_vectors = cut_block(&task->circuit, &block, NULL);
    struct team team = {.work = work, .make_workspace = make_workspace, .task = task,
                        .parts = (blocks + together - 1) / together};
    return run_team(&team, task->sequence->threads) ? OK : OUT_OF_MEMORY;
}

static int run_forward(const struct sequence *q) {
    struct task task = {.sequence = q, .blocks_together = 1};
    int status = make_circuit(&task.circuit, q);
    if (status != OK) return status;
    status = run_task(&task, forward_block);
    free_circuit(&task.circuit);
    return status;
}

static int run_adjoint(const struct sequence *q) {
    struct task task = {.sequence = q, .blocks_together = choose_blocks_together(q)};
    int status = make_circuit(&task.circuit, q);
    if (status != OK) return status;
    void *memory = allocate(cut_sums(&task, NULL).bytes);
    task.sums = cut_sums(&task, memory);
    status = memory ? run_task(&task, adjoint_group) : OUT_OF_MEMORY;
    if (status == OK) {
        write_synapse_adjoints(&task);
        write_neuron_adjoints(&task);
        write_output_adjoints(&task);
    }
    release(memory);
    free_circuit(&task.circuit);
    return status;
}

#ifdef NARROW

int ncp_ltc_narrow_forward(const struct sequence *q) { return run_forward(q); }
int ncp_ltc_narrow_adjoint(const struct sequence *q) { return run_adjoint(q); }

#else

/* Fill `states` and `output`, and `tape` if there is one. */
EXPORT int ncp_ltc_forward(const struct sequence *q) {
    if (IS_NARROW(q)) return ncp_ltc_narrow_forward(q);
    return run_forward(q);
}

/* Fill all other arrays named `…_bar` from `states_bar`, `output_bar`, `states` and the tape. */
EXPORT int ncp_ltc_adjoint(const struct sequence *q) {
    if (IS_NARROW(q)) return ncp_ltc_narrow_adjoint(q);
    return run_adjoint(q);
}

/* Compute the sigmoids of `count` numbers in place, `times` times: the benchmark with which the
 * duration of a sequence is compared. */
EXPORT void ncp_ltc_sigmoids(real *values, int64_t count, int64_t times) {
    for (int64_t time = 0; time < times; time++)
        for (int64_t k = 0; k + LANES <= count; k += LANES)
            store(values + k, sigmoid_of_log2(load(values + k)));
}

#endif
