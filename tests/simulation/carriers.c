/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connectors with two carriers: private links in the place of streams, and in that of UCX shared
 * ones, the fabric, which move memory of devices too. Each process has its own reasons to want the
 * fabric or not to have it: what its options name, whether an RDMA network is up, whether there is
 * memory of a device, and whether the fabric starts.
 */
#include "workload.h"

#include "base/rdma.h"
#include "link/stream.h"
#include "link/ucx_kind.h"
#include "native/native.h"
#include "network.h"

#include <string.h>

#define LONG_BEFORE (50 * SIM_MS)   /* a word of the end would have come */
#define LONG_ADDRESS ((size_t)9000) /* too long for a word of a private link */

void __real_rw_operation_rebind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link);
void __wrap_rw_operation_rebind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link);
bool __wrap_rw_rdma_is_up(const char *folder, const char *net_devices);

/* ---- what a process has ---- */

void sim_carriers_choose(sim_process_t *process) {
    static const char *const names[] = {NULL, "fabric", "stream"};
    ropeway_connector_options_t *options = &process->options;
    sim_random_t *random = &sim.choices;

    process->named = sim_chance(random, 700)   ? SIM_NAMES_NOTHING
                     : sim_chance(random, 700) ? SIM_NAMES_FABRIC
                                               : SIM_NAMES_STREAM;
    process->rdma_up = sim_chance(random, 500);
    process->has_device = sim_chance(random, 600);
    options->transports = names[process->named];
    options->encryption = sim_chance(random, 250) ? "off" : NULL;
    process->address_length = RW_ID_BYTES + 1;
    if (process->named != SIM_NAMES_NOTHING) {
        return;
    }
    if (sim_chance(random, 80)) {
        options->encryption = "required";
    }
    if (sim_chance(random, 30)) {
        process->address_length = LONG_ADDRESS;
    }
    if (sim_may(SIM_STARTS) && sim_chance(random, 500)) {
        process->no_fabric = sim_chance(random, 500) ? 1000 : 500;
    }
}

/* Its bytes may go between hosts in clear. */
static bool allows_clear(const sim_process_t *process) {
    return process->options.encryption != NULL && strcmp(process->options.encryption, "off") == 0;
}

bool sim_has_fabric(const sim_process_t *process) {
    return process->named == SIM_NAMES_FABRIC ||
           (process->named == SIM_NAMES_NOTHING &&
            (process->options.encryption == NULL || allows_clear(process)));
}

bool __wrap_rw_rdma_is_up(const char *folder, const char *net_devices) {
    (void)folder, (void)net_devices;
    return sim_here()->rdma_up;
}

bool rw_ways_are_named(const char *transports) {
    return strcmp(transports, "stream") == 0;
}

bool sim_second_may_start(const rw_carrier_t *carrier) {
    sim_process_t *process = sim_here();
    const sim_end_t *end = process->ports[0]->serving;

    if (carrier->kind != &rw_ucx_kind) {
        return true;
    }
    if (end != NULL && end->side == 1 && !end->conn->is_local && !process->rdma_up &&
        !allows_clear(process)) {
        sim_fail("who comes by the network makes the fabric start");
    }
    if (sim_chance(&sim.choices, process->no_fabric)) {
        sim_befall(process, SIM_STARTS, sim.now + 1);
        sim_note("the fabric does not start");
        sim_sights->ways[SIM_WAY_FAILS]++;
        return false;
    }
    sim_note("the fabric starts");
    sim_sights->ways[SIM_WAY_STARTS]++;
    return true;
}

/* ---- what an operation needs ---- */

static bool is_active(const sim_operation_t *one) {
    return one->kind == ROPEWAY_OPERATION_READ || one->kind == ROPEWAY_OPERATION_WRITE;
}

static bool is_far(const sim_operation_t *active) {
    return active->process->host != active->offer->process->host;
}

/* Its metadata leads to the fabric. */
static bool is_offered_by_fabric(const sim_operation_t *offer) {
    return offer->on_device || offer->process->named == SIM_NAMES_FABRIC;
}

static bool needs_fabric(const sim_operation_t *active) {
    return active->on_device || active->process->named == SIM_NAMES_FABRIC;
}

/* What could not start once is not told of any more on the connection that was asked by. */
static bool always_starts(const sim_process_t *process) {
    return process->no_fabric == 0 && process->last[SIM_SHORTAGES] == 0;
}

/* Whoever asks there learns for sure how the fabric leads to it. */
static bool tells_way(const sim_operation_t *active) {
    const sim_process_t *there = active->offer->process;
    bool may = there->named == SIM_NAMES_FABRIC || there->rdma_up || allows_clear(there) ||
               (!is_far(active) && sim.has_local);

    return may && sim_has_fabric(there) && always_starts(there) &&
           there->address_length < LONG_ADDRESS;
}

/* By the fabric host memory would go between hosts in clear, and nobody here has said that it may,
 * unless it goes by an RDMA network. */
static bool is_unasked_clear(const sim_operation_t *active) {
    const sim_process_t *here = active->process;

    return is_far(active) && !active->on_device && !active->offer->on_device &&
           here->named != SIM_NAMES_FABRIC && !allows_clear(here);
}

bool sim_may_lack_way(const sim_operation_t *active) {
    const sim_operation_t *offer = active->offer;

    if (is_offered_by_fabric(offer)) { /* a network that did not start once is not taken again */
        return !sim_has_fabric(active->process) ||
               (is_unasked_clear(active) &&
                (!active->process->rdma_up || !always_starts(active->process)));
    }
    return needs_fabric(active) && !tells_way(active);
}

bool sim_may_not_start(const sim_operation_t *one) {
    return one->process->no_fabric > 0 &&
           (one->on_device || (one->offer != NULL && is_offered_by_fabric(one->offer)));
}

bool sim_was_misled(const sim_operation_t *one) {
    const sim_operation_t *other = is_active(one) ? one->offer : one->partner;

    return sim.carriers == SIM_BOTH && (one->process->last[SIM_LIES] > 0 ||
                                        (other != NULL && other->process->last[SIM_LIES] > 0));
}

bool sim_was_left(const sim_operation_t *one) {
    const sim_operation_t *other = is_active(one) ? one->offer : one->partner;
    const sim_operation_t *offer = is_active(one) ? other : one;

    return other != NULL && offer->was_kept && (offer == one || offer->partner == one) &&
           other->ended && !other->dead && other->ended_at + LONG_BEFORE < one->ended_at;
}

/* ---- what goes by which ---- */

void sim_check_memory(const rw_link_kind_t *kind, const rw_flight_t *flight) {
    bool on_device = ((uintptr_t)flight->pieces[0].iov_base & SIM_DEVICE) != 0;

    if (on_device && kind->host_only) {
        sim_fail("memory of a device is given to a link that moves the host's alone");
    }
    if (flight->length > 0 && on_device != (flight->device.kind == ROPEWAY_DEVICE_CUDA)) {
        sim_fail("a flight does not say where its memory lies");
    }
}

/* A request leaves. */
static void check_request(sim_operation_t *one, const rw_link_kind_t *kind,
                          const rw_message_t *message) {
    bool asks = (message->flags & RW_FLAG_ASK) != 0;

    if (asks && (!kind->host_only || (message->flags & RW_FLAG_INLINE) != 0)) {
        sim_fail("%u asks by the fabric, or sends its bytes along", one->number);
    }
    if (!asks && kind->host_only && needs_fabric(one)) {
        sim_fail("%u needs the fabric, and is requested by another way", one->number);
    }
    if (!kind->host_only && is_unasked_clear(one) && !one->process->rdma_up) {
        sim_fail("%u goes to another host in clear", one->number);
    }
    if (asks) {
        one->asked = true;
        sim_sights->ways[SIM_WAY_ASKED]++;
    } else if (!kind->host_only && !one->asked && !is_offered_by_fabric(one->offer)) {
        sim_sights->ways[SIM_WAY_KNOWN]++;
    }
}

void sim_check_sent(const sim_link_t *link, const rw_flight_t *flight) RW_UNCHECKED {
    const rw_link_kind_t *kind = link->base.kind;
    const ropeway_operation_t *operation;
    rw_message_t message;

    sim_check_memory(kind, flight);
    if (rw_message_decode(flight->header, flight->header_length, flight->length, &message) !=
        ROPEWAY_OK) {
        sim_fail("a message leaves that nobody understands");
    }
    operation = rw_operation_find(link->base.peer->connector, message.from);
    if (operation == NULL) {
        return;
    }
    if (message.type == RW_REQUEST) {
        check_request(operation->user_data, kind, &message);
    } else if (message.type == RW_WAY) {
        sim_sights->ways[flight->length > 0 ? SIM_WAY_TOLD : SIM_WAY_NONE]++;
    } else if (rw_side(operation)->asking && message.type != RW_FIN) {
        sim_fail("%u goes on before its way is known",
                 ((const sim_operation_t *)operation->user_data)->number);
    }
}

/* The two go on by this link. */
static void check_rebound(const ropeway_operation_t *operation, const rw_peer_t *peer,
                          const rw_link_t *link) RW_UNCHECKED {
    const sim_operation_t *one = operation->user_data;
    bool by_fabric = !link->kind->host_only;
    size_t flights, bytes;

    sim_census(one->process, operation, &flights, &bytes);
    if (flights > 0) {
        sim_fail("%u goes to another link, and the one that it had has its memory", one->number);
    }
    if (memcmp(peer->instance, operation->peer->instance, RW_ID_BYTES) != 0 &&
        one->process->last[SIM_LIES] == 0) {
        sim_fail("%u goes on with another peer", one->number);
    }
    sim_note("%u goes on by %s", one->number, by_fabric ? "the fabric" : "the link that it had");
    sim_sights->ways[is_active(one) ? by_fabric ? SIM_WAY_LEADS : SIM_WAY_STAYS
                     : by_fabric    ? SIM_WAY_COMES
                                    : SIM_WAY_RETURNS]++;
}

void __wrap_rw_operation_rebind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link) {
    check_rebound(operation, peer, link);
    __real_rw_operation_rebind(operation, peer, link);
}

/* Something befell the two, at any time, after which they may not have known what they could. */
static bool were_disturbed(const sim_operation_t *active) {
    static const sim_trouble_t causes[] = {SIM_DIALS, SIM_LIES, SIM_STARTS, SIM_SHORTAGES};
    bool any = false;

    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++) {
        any |= active->process->last[causes[i]] > 0 || active->offer->process->last[causes[i]] > 0;
    }
    return any;
}

void sim_check_way(const sim_operation_t *active,
                   const ropeway_operation_t *operation) RW_UNCHECKED {
    bool by_fabric = !operation->link->kind->host_only;
    bool wanted = needs_fabric(active) || (active->process->rdma_up && is_far(active) &&
                                           active->process->named == SIM_NAMES_NOTHING);
    bool offered = is_offered_by_fabric(active->offer);

    if ((active->on_device || active->offer->on_device) && !by_fabric) {
        sim_fail("%u is of a device, and went by the stream", active->number);
    }
    if (by_fabric && !wanted && !offered) {
        sim_fail("%u went by the fabric, and nobody wanted that", active->number);
    }
    if (!by_fabric && wanted && sim_has_fabric(active->process) && tells_way(active) &&
        !were_disturbed(active)) {
        sim_fail("%u went by the stream, and there was a better way", active->number);
    }
}
