/* Take the choice with the highest score of each entry; the first of equal ones. */
static void choose(const float *scores, int32_t *action)
{
    static const int32_t choices[CONTROLLER_ACTION_SIZE] = CONTROLLER_CHOICES;
    for (int k = 0; k < CONTROLLER_ACTION_SIZE; scores += choices[k++]) {
        int32_t best = 0;
        for (int32_t i = 1; i < choices[k]; i++)
            if (scores[i] > scores[best]) best = i;
        action[k] = best;
    }
}
