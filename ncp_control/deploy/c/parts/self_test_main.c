/* Check the controller against the vectors of its self-test, and count what it costs.
 *
 *     cc -std=c99 -O2 -ffp-contract=off controller.c controller_test.c -o controller_test
 *     ./controller_test         exit status 0 if all actions are right
 *     ./controller_test 1000    the same, then 1000 more steps and the time of each
 *
 * `bits` is a hash of all states and actions, and of the distances from good driving: the same on
 * every processor. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controller.h"
#include "controller_test.h"

#ifdef SELF_TEST_TICKS
unsigned long self_test_ticks(void); /* of a target without a clock */
#endif

static struct controller_state state;
static struct controller_workspace workspace;

#ifdef SELF_TEST_FRAMES
static uint8_t frame[CONTROLLER_OBSERVATION_SIZE];

static const uint8_t *draw_frame(uint32_t step)
{
    for (uint32_t k = 0; k < CONTROLLER_OBSERVATION_SIZE; k++) {
        const uint32_t noise = (k + step * 40503u) * 2654435761u;
        frame[k] = (uint8_t)(k / (7u + 5u * step) * 11u + (noise >> 27));
    }
    return frame;
}
#endif

#ifdef SELF_TEST_NUMBERS
typedef struct controller_observation observed;
static const observed *observe(uint32_t step)
{
    static observed seen;
    seen.frame = draw_frame(step);
    memcpy(seen.numbers, self_test_numbers[step], sizeof seen.numbers);
    return &seen;
}
#elif defined(SELF_TEST_FRAMES)
typedef uint8_t observed;
static const observed *observe(uint32_t step) { return draw_frame(step); }
#else
typedef float observed;
static const observed *observe(uint32_t step) { return self_test_observations[step]; }
#endif

#ifdef CONTROLLER_CHOICES
typedef int32_t acted;

/* How far the scores are from those expected. A wrong choice counts with half of what it loses,
 * for as much may be lost where two scores are nearly the same. */
static float largest_error(uint32_t step, const acted *action)
{
    static const int32_t choices[CONTROLLER_ACTION_SIZE] = CONTROLLER_CHOICES;
    float scores[CONTROLLER_SCORES], largest = 0.0f;
    const float *wanted = self_test_scores[step];
    controller_scores(&state, scores);
    for (int k = 0; k < CONTROLLER_SCORES; k++) {
        const float difference = scores[k] - wanted[k];
        const float size = difference < 0.0f ? -difference : difference;
        if (size > largest) largest = size;
    }
    for (int k = 0; k < CONTROLLER_ACTION_SIZE; wanted += choices[k++])
        for (int32_t i = 0; i < choices[k]; i++) {
            const float lost = (wanted[i] - wanted[action[k]]) / 2.0f;
            if (lost > largest) largest = lost;
        }
    return largest;
}
#else
typedef float acted;

static float largest_error(uint32_t step, const acted *action)
{
    float largest = 0.0f;
    for (int k = 0; k < CONTROLLER_ACTION_SIZE; k++) {
        const float difference = action[k] - self_test_actions[step][k];
        const float size = difference < 0.0f ? -difference : difference;
        if (size > largest) largest = size;
    }
    return largest;
}
#endif

/* Write the distance of an observation from good driving; tell whether it is as expected. */
static int finds_distance(uint32_t step, float *distance)
{
    *distance = 0.0f;
#ifdef SELF_TEST_DISTANCES
    controller_faults(&workspace, observe(step), distance);
    const float error = *distance / self_test_distances[step] - 1.0f;
    return error < 2e-3f && error > -2e-3f;
#else
    (void)step;
    return 1;
#endif
}

/* Of numbers of 32 bits; the order of bytes in memory does not count. */
static uint32_t hash_numbers(uint32_t hash, const void *numbers, int count)
{
    for (int i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, (const char *)numbers + i * 4, sizeof bits);
        for (int k = 0; k < 4; k++) hash = (hash ^ (bits >> (8 * k) & 255u)) * 16777619u;
    }
    return hash;
}

/* A negative time must be refused, and nothing be changed. */
static int refuses_bad_input(void)
{
    const struct controller_state before = state;
    acted kept[CONTROLLER_ACTION_SIZE] = {1}, action[CONTROLLER_ACTION_SIZE] = {1};
    const int status = controller_step(&state, &workspace, observe(0), -1.0f, action);
    return status == CONTROLLER_BAD_INPUT && memcmp(kept, action, sizeof action) == 0 &&
           memcmp(&before, &state, sizeof state) == 0;
}

/* Take more steps, and print what each of them costs where a target counts ticks. */
static void take_steps(long steps)
{
    const observed *observation = observe(1);
    acted action[CONTROLLER_ACTION_SIZE];
    for (long n = 0; n < steps; n++) {
#ifdef SELF_TEST_TICKS
        const unsigned long start = self_test_ticks();
        controller_step(&state, &workspace, observation, CONTROLLER_FRAME_S, action);
        printf("step: %lu ticks\n", self_test_ticks() - start);
        float distance;
        const unsigned long before = self_test_ticks();
        controller_faults(&workspace, observation, &distance);
        printf("faults: %lu ticks\n", self_test_ticks() - before);
#else
        controller_step(&state, &workspace, observation, CONTROLLER_FRAME_S, action);
#endif
    }
}

int main(int count, char **words)
{
    const long steps = count > 1 ? atol(words[1]) : 0;
    uint32_t hash = 2166136261u;
    float largest = 0.0f;
    int is_right = 1;
    controller_init(&state);
    for (uint32_t step = 0; step < SELF_TEST_STEPS; step++) {
        acted action[CONTROLLER_ACTION_SIZE];
        float distance;
        if (!finds_distance(step, &distance)) {
            printf("fail: step %u is at distance %g from good driving\n", (unsigned)step,
                   (double)distance);
            return 1;
        }
#ifdef SELF_TEST_DISTANCES
        hash = hash_numbers(hash, &distance, 1);
#endif
        const int status =
            controller_step(&state, &workspace, observe(step), self_test_dt_s[step], action);
        if (status != CONTROLLER_OK) {
            printf("fail: step %u returns status %d\n", (unsigned)step, status);
            return 1;
        }
        const float error = largest_error(step, action);
        if (error > largest) largest = error;
        hash = hash_numbers(hash, action, CONTROLLER_ACTION_SIZE);
        hash = hash_numbers(hash, state.value, CONTROLLER_STATE_SIZE);
#if CONTROLLER_TIME_CONSTANTS > 0
        float tau_s[CONTROLLER_TIME_CONSTANTS];
        controller_time_constants(&state, &workspace, tau_s);
        hash = hash_numbers(hash, tau_s, CONTROLLER_TIME_CONSTANTS);
#endif
    }
    if (!(largest <= SELF_TEST_TOLERANCE) || !refuses_bad_input()) is_right = 0;
    printf("%s: %d steps, largest difference %.2g, bits %08lx\n", is_right ? "pass" : "fail",
           SELF_TEST_STEPS, (double)largest, (unsigned long)hash);
    printf("bytes: state %u, workspace %u\n", (unsigned)sizeof state, (unsigned)sizeof workspace);
    if (steps > 0) {
        const clock_t start = clock();
        take_steps(steps);
        printf("microseconds a step: %.3f\n",
               (double)(clock() - start) * 1e6 / CLOCKS_PER_SEC / (double)steps);
    }
    return is_right ? 0 : 1;
}
