/* Act for another process: observations come on standard input, actions leave on standard output.
 *
 *     cc -std=c99 -O2 -ffp-contract=off controller.c controller_pipe.c -o controller_pipe
 *
 * All numbers have 32 bits and the byte order of this machine, without gaps. First the program says
 * what it is:
 *
 *     char name[8]            "ncp-pipe"
 *     uint32 version          2
 *     uint32 sizes[3]         bytes of an observation, numbers of the action, numbers of the state
 *     char weights[64]        hash of the policy's weights
 *     char head_weights[8]    "float32", or "int8" where the weights of the conv head are rounded
 *
 * Then it answers each request by one reply, until its input ends:
 *
 *     request: uint32 reset   1 to forget everything first, else 0
 *              float dt_s     time since the observation before [s]
 *              observation    a frame of bytes, or float numbers, or a frame and the numbers
 *     reply:   int32 status   what controller_step returned
 *              action         float numbers, or int32 numbers of choices
 *              float state[]  what the policy remembers after the step
 *
 * After another status than 0 the action is that of the step before. Exit status: 0 where the input
 * ends between two requests, 1 otherwise. */

#include <stdio.h>
#include <string.h>

#include "controller.h"

PIPE_CONSTANTS

#ifndef CONTROLLER_HEAD_WEIGHTS
#define CONTROLLER_HEAD_WEIGHTS "float32" /* there is no conv head */
#endif
static const char head_weights[8] = CONTROLLER_HEAD_WEIGHTS;
static struct controller_state state;
static struct controller_workspace workspace;
static unsigned char observation[PIPE_OBSERVATION_BYTES];
static PIPE_ACTION action[CONTROLLER_ACTION_SIZE];

#ifdef PIPE_NUMBERS
static int step(float dt_s)
{
    struct controller_observation seen;
    seen.frame = observation;
    memcpy(seen.numbers, observation + CONTROLLER_OBSERVATION_SIZE, sizeof seen.numbers);
    return controller_step(&state, &workspace, &seen, dt_s, action);
}
#elif defined(PIPE_FRAMES)
static int step(float dt_s)
{
    return controller_step(&state, &workspace, observation, dt_s, action);
}
#else
static int step(float dt_s)
{
    float seen[CONTROLLER_OBSERVATION_SIZE];
    memcpy(seen, observation, sizeof seen);
    return controller_step(&state, &workspace, seen, dt_s, action);
}
#endif

static int say(const void *bytes, size_t count)
{
    return fwrite(bytes, 1, count, stdout) == count;
}

int main(void)
{
    const uint32_t about[4] = {2, PIPE_OBSERVATION_BYTES, CONTROLLER_ACTION_SIZE,
                               CONTROLLER_STATE_SIZE};
    uint32_t reset;
    float dt_s;
    size_t count;
    controller_init(&state);
    if (!say("ncp-pipe", 8) || !say(about, sizeof about) ||
        !say(CONTROLLER_WEIGHTS_SHA256, 64) || !say(head_weights, 8) || fflush(stdout) != 0)
        return 1;
    while ((count = fread(&reset, 1, sizeof reset, stdin)) == sizeof reset) {
        int32_t status;
        if (fread(&dt_s, sizeof dt_s, 1, stdin) != 1 ||
            fread(observation, sizeof observation, 1, stdin) != 1)
            return 1;
        if (reset) controller_reset(&state);
        status = step(dt_s);
        if (!say(&status, sizeof status) || !say(action, sizeof action) ||
            !say(state.value, sizeof state.value) || fflush(stdout) != 0)
            return 1;
    }
    return count != 0;
}
