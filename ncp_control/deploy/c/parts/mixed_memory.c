/* A memory like that of an LSTM beside the cell; the state is the cell's, then the memory. The
 * gates are input, candidate, forget and output, each of all entries together. The memory takes
 * the place of the cell's state before the cell goes on. */
static void mixed_step(workspace *w, const float *input, float *state, float dt_s)
{
    const float *gates = w->memory_gates;
    float *memory = state + CELL_STATE;
    dense(memory_input_map, memory_bias, input, INPUTS, 4 * CELL_STATE, w->memory_gates);
    dense(memory_state_map, w->memory_gates, state, CELL_STATE, 4 * CELL_STATE, w->memory_gates);
    for (int i = 0; i < CELL_STATE; i++) {
        const float candidate = hyperbolic_tangent(gates[CELL_STATE + i]);
        memory[i] = sigmoid(gates[2 * CELL_STATE + i]) * memory[i] + sigmoid(gates[i]) * candidate;
        state[i] = sigmoid(gates[3 * CELL_STATE + i]) * hyperbolic_tangent(memory[i]);
    }
    INNER_STEP(w, input, state, dt_s);
}
