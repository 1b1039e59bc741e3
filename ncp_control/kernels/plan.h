/* The plan of a control step: how its one sample uses all lanes.
 *
 * Up to LANES neurons of a layer form a group, stored in padded arrays from the position `at` on. A
 * neuron gets one lane, or several if the group has lanes to spare. Its synapses are stacked in
 * these lanes, one row of LANES synapses at a time. Each lane sums up its own column; folds then
 * add up the sums of each neuron:
 *
 *     lane           0   1   2   3   4 …
 *     neuron         a   a   b   b   c            fold 0: lanes 0 2 4 …   to neurons a b c …
 *     row 0          a₀  a₂  b₀  b₂  c₀           fold 1: lanes 1 3 –
 *     row 1          a₁  a₃  b₁  –   c₁
 */

#ifndef NCP_PLAN_H
#define NCP_PLAN_H

#include "circuit.h"

/* The synapses of a group: rows of lanes. */
struct rows {
    int row, row_end, fold, fold_end;
    int table;   /* first source, and whether the next 2 LANES numbers hold all sources */
    int is_near;
};

struct group {
    int first, count;             /* neurons */
    struct rows sensory, earlier, own; /* `own`: from the group's own layer, if it is recurrent */
};

struct plan {
    int groups, rows, folds;
    struct group *group;
    struct layer *layer; /* in groups, not in neurons */
    int layers;
    int32_t *synapse; /* (rows, LANES): number of a synapse, or -1 */
    int32_t *source;  /* (rows, LANES): position of its source, counted from the table */
    int32_t *lane;    /* (folds, LANES): lane that is added to each neuron; none if >= LANES */
};

/* Range of the synapses of neuron i that are of one of the three kinds. */
struct range {
    int first, end;
};

enum kind { SENSORY, EARLIER, OWN };

static struct range find_range(const struct circuit *c, int i, enum kind kind) {
    const struct neuron *n = &c->neuron[i];
    if (kind == SENSORY) return (struct range){n->sensory, n->sensory_end};
    if (kind == OWN) return (struct range){n->recurrent, n->inner_end};
    return (struct range){n->inner, n->recurrent};
}

/* Return the smallest number of rows that the group needs. */
static int find_height(const struct circuit *c, const struct group *g, enum kind kind) {
    int most = 0, total = 0;
    for (int i = g->first; i < g->first + g->count; i++) {
        const struct range range = find_range(c, i, kind);
        total += range.end - range.first;
        if (range.end - range.first > most) most = range.end - range.first;
    }
    for (int height = (total + LANES - 1) / LANES; height < most; height++) {
        int lanes = 0;
        for (int i = g->first; i < g->first + g->count && height; i++) {
            const struct range range = find_range(c, i, kind);
            lanes += (range.end - range.first + height - 1) / height;
        }
        if (lanes <= LANES) return height;
    }
    return most;
}

static int find_place_of_source(const struct circuit *c, int synapse) {
    const int source = c->synapse[synapse].source;
    return synapse < c->sensory_synapses ? source : c->neuron[source].at;
}

/* Find the table of sources, and write the sources of the rows relative to it. A lane without
 * further synapses reads its previous source again, so that no other source gives it a NaN. */
static void place_sources(struct plan *p, const struct circuit *c, struct rows *r) {
    int least = INT32_MAX, most = 0;
    for (int k = r->row * LANES; k < r->row_end * LANES; k++) {
        if (p->synapse[k] < 0) continue;
        const int place = find_place_of_source(c, p->synapse[k]);
        if (place < least) least = place;
        if (place > most) most = place;
    }
    r->table = least / LANES * LANES;
    r->is_near = most < r->table + 2 * LANES;
    for (int k = r->row * LANES; k < r->row_end * LANES; k++)
        if (p->synapse[k] >= 0)
            p->source[k] = find_place_of_source(c, p->synapse[k]) - r->table;
        else if (k >= (r->row + 1) * LANES)
            p->source[k] = p->source[k - LANES];
}

/* Plan the synapses of one kind of a group; without arrays, only count rows. */
static struct rows plan_rows(struct plan *p, const struct circuit *c, const struct group *g,
                             enum kind kind) {
    const int height = find_height(c, g, kind);
    struct rows r = {p->rows, p->rows + height, p->folds, p->folds, 0, 1};
    int lane = 0;
    for (int i = 0; i < g->count && height; i++) {
        const struct range range = find_range(c, g->first + i, kind);
        int fold = r.fold;
        for (int s = range.first; s < range.end; s++) {
            const int row = (s - range.first) % height;
            if (row == 0 && s > range.first) lane++, fold++;
            if (!p->synapse) continue;
            p->synapse[(r.row + row) * LANES + lane] = s;
            p->lane[fold * LANES + i] = lane;
        }
        if (range.first < range.end) lane++, fold++;
        if (fold > r.fold_end) r.fold_end = fold;
    }
    p->rows = r.row_end;
    p->folds = r.fold_end;
    if (p->synapse && height) place_sources(p, c, &r);
    return r;
}

/* Plan all groups; without arrays, only count, and place the neurons. For Euler, the whole circuit
 * is one layer. */
static void plan_groups(struct plan *p, struct circuit *c) {
    const struct layer whole = {0, c->neurons, 1};
    const int has_layers = c->integrator == LAYERED_MIDPOINT;
    p->layers = has_layers ? c->layers : 1;
    p->groups = p->rows = p->folds = 0;
    for (int l = 0; l < p->layers; l++) {
        const struct layer layer = has_layers ? c->layer[l] : whole;
        const int first_group = p->groups;
        for (int i = layer.first; i < layer.end; i += LANES) {
            const int left = layer.end - i;
            struct group group = {.first = i, .count = left < LANES ? left : LANES};
            for (int k = 0; k < group.count; k++) c->neuron[i + k].at = p->groups * LANES + k;
            group.sensory = plan_rows(p, c, &group, SENSORY);
            group.earlier = plan_rows(p, c, &group, EARLIER);
            group.own = plan_rows(p, c, &group, OWN);
            if (p->synapse) p->group[p->groups] = group;
            p->groups++;
        }
        if (p->synapse) p->layer[l] = (struct layer){first_group, p->groups, layer.is_recurrent};
    }
}

static void free_plan(struct plan *p) { release(p->group); }

static int make_plan(struct plan *p, struct circuit *c) {
    *p = (struct plan){0};
    plan_groups(p, c);
    const size_t in_rows = (size_t)p->rows * LANES, in_folds = (size_t)p->folds * LANES;
    p->group = allocate(p->groups * sizeof *p->group + p->layers * sizeof *p->layer +
                        (2 * in_rows + in_folds) * sizeof(int32_t));
    if (!p->group) return OUT_OF_MEMORY;
    p->layer = (struct layer *)(p->group + p->groups);
    p->synapse = (int32_t *)(p->layer + p->layers);
    p->source = p->synapse + in_rows;
    p->lane = p->source + in_rows;
    for (size_t k = 0; k < in_rows; k++) p->synapse[k] = -1;
    for (size_t k = 0; k < in_folds; k++) p->lane[k] = LANES;
    plan_groups(p, c);
    return OK;
}

#endif
