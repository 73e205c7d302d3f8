/* SPDX-License-Identifier: Apache-2.0 */
/* What schedules have reached: outcomes, pairs of them, states, messages. */
#include "simulation.h"

#include <stdio.h>

sim_sights_t *sim_sights;

static const char *const kinds[] = {"", "readable", "writable", "read", "write"};
static const char *const statuses[] = {"", "", "", "complete", "cancelled", "errored"};
static const char *const senders[] = {"waiting", "inline", "ready", "sending", "sent"};
static const char *const receivers[] = {"waiting", "receiving", "confirming"};
static const char *const messages[] = {"",     "REQUEST", "ACCEPT", "DATA", "SUMS",
                                       "DONE", "FIN",     "BYE",    "WAY"};
static const char *const traits[] = {"inline",        "lent",        "with integrity", "a prefix",
                                     "grouped",       "of no bytes", "with gaps",      "large",
                                     "by the fabric", "of a device"};
static const char *const askers[] = {"asked", "asking"};
static const char *const ways[] = {
    [SIM_WAY_STARTS] = "starts",       [SIM_WAY_FAILS] = "does not start",
    [SIM_WAY_ASKED] = "asked for",     [SIM_WAY_TOLD] = "told",
    [SIM_WAY_NONE] = "not told",       [SIM_WAY_LEADS] = "gone by",
    [SIM_WAY_STAYS] = "not gone by",   [SIM_WAY_COMES] = "come by",
    [SIM_WAY_RETURNS] = "not come by", [SIM_WAY_KNOWN] = "known before"};

/* Outcomes that no schedule can have need another version, or a peer that asks for what its own
 * library refuses. */
static bool is_possible(unsigned error) {
    switch (error) {
    case ROPEWAY_OK:
    case ROPEWAY_ERR_NO_MEMORY:
    case ROPEWAY_ERR_LIMIT:
    case ROPEWAY_ERR_KEY_UNKNOWN:
    case ROPEWAY_ERR_KEY_USED:
    case ROPEWAY_ERR_KEY_FINISHED:
    case ROPEWAY_ERR_UNREACHABLE:
    case ROPEWAY_ERR_PEER_LOST:
    case ROPEWAY_ERR_PEER_CLOSED:
    case ROPEWAY_ERR_STALLED:
    case ROPEWAY_ERR_DEADLINE:
    case ROPEWAY_ERR_INTEGRITY:
    case ROPEWAY_ERR_PROTOCOL:
    case ROPEWAY_ERR_CANCELLED:
    case ROPEWAY_ERR_NO_PATH:
    case ROPEWAY_ERR_UNSUPPORTED:
        return true;
    default:
        return false;
    }
}

static void print_outcomes(void) {
    for (unsigned error = 0; error < SIM_ERRORS; error++) {
        uint32_t sum = 0;

        for (unsigned kind = 1; kind < 5; kind++) {
            sum += sim_sights->outcomes[kind][error];
        }
        if (sum > 0 || is_possible(error)) {
            printf("  %-26s", ropeway_error_name((ropeway_error_t)error));
            for (unsigned kind = 1; kind < 5; kind++) {
                printf(" %s %u", kinds[kind], sim_sights->outcomes[kind][error]);
            }
            printf("%s\n", sum == 0 ? "  NEVER" : "");
        }
    }
}

static void print_states(const char *what, const char *const *names, unsigned count,
                         _Atomic uint32_t (*seen)[SIM_STATUSES]) {
    for (unsigned state = 0; state < count; state++) {
        printf("  %s %s:", what, names[state]);
        for (unsigned status = ROPEWAY_STATUS_COMPLETE; status < SIM_STATUSES; status++) {
            printf(" %s %u", statuses[status], seen[state][status]);
        }
        printf("\n");
    }
}

void sim_sights_print(void) {
    printf("Outcomes:\n");
    print_outcomes();
    printf("Pairs, of the offer and of who took it:\n");
    for (unsigned one = ROPEWAY_STATUS_COMPLETE; one < SIM_STATUSES; one++) {
        for (unsigned other = ROPEWAY_STATUS_COMPLETE; other < SIM_STATUSES; other++) {
            printf("  %s and %s: %u\n", statuses[one], statuses[other],
                   sim_sights->pairs[one][other]);
        }
    }
    printf("States at the end:\n");
    print_states("sender", senders, 5, sim_sights->senders);
    print_states("receiver", receivers, 3, sim_sights->receivers);
    printf("Refused calls:");
    for (unsigned error = 0; error < SIM_ERRORS; error++) {
        if (sim_sights->refusals[error] > 0) {
            printf(" %s %u", ropeway_error_name((ropeway_error_t)error),
                   sim_sights->refusals[error]);
        }
    }
    printf("\nMessages:");
    for (unsigned type = 1; type < 9; type++) {
        printf(" %s %u", messages[type], sim_sights->messages[type]);
    }
    printf("\nComplete:");
    for (unsigned trait = 0; trait < 10; trait++) {
        printf(" %s %u,", traits[trait], sim_sights->traits[trait]);
    }
    printf("\nFetched: from one piece into one %u, into several %u; from several into one %u, into "
           "several %u",
           sim_sights->fetches[0][0], sim_sights->fetches[0][1], sim_sights->fetches[1][0],
           sim_sights->fetches[1][1]);
    printf("\nThe fabric:");
    for (unsigned way = 0; way < SIM_WAYS; way++) {
        printf(" %s %u,", ways[way], sim_sights->ways[way]);
    }
    printf("\nAt the end, before its way was known:\n");
    for (unsigned i = 0; i < 2; i++) {
        printf("  %s:", askers[i]);
        for (unsigned status = ROPEWAY_STATUS_COMPLETE; status < SIM_STATUSES; status++) {
            printf(" %s %u", statuses[status], sim_sights->askers[i][status]);
        }
        printf("\n");
    }
}
