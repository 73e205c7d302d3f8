/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold, at every turn, at each outcome, and at the end. docs/design.md says which rule
 * each of these checks holds. An outcome is seen at the moment when it is published: the operation
 * gives its timer back then, and nothing has its memory any more.
 */
#include "workload.h"

#include "native/native.h"
#include "network.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

void __real_rw_timer_return(rw_timers_t *timers, rw_timer_t *timer);
void __wrap_rw_timer_return(rw_timers_t *timers, rw_timer_t *timer);
void __real_rw_operation_bind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link);
void __wrap_rw_operation_bind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link);

void __wrap_rw_timer_return(rw_timers_t *timers, rw_timer_t *timer) {
    sim_on_outcome(RW_CONTAINER(timer, ropeway_operation_t, timer));
    __real_rw_timer_return(timers, timer);
}

void __wrap_rw_operation_bind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link) {
    sim_on_bound(operation);
    __real_rw_operation_bind(operation, peer, link);
}

static bool is_active(const sim_operation_t *one) {
    return one->kind == ROPEWAY_OPERATION_READ || one->kind == ROPEWAY_OPERATION_WRITE;
}

void sim_on_bound(ropeway_operation_t *operation) {
    sim_operation_t *one = operation->user_data;

    if (is_active(one)) {
        memcpy(one->id, operation->node.id, RW_ID_BYTES);
        one->has_id = true;
    }
}

void sim_on_late(const void *tag) {
    const ropeway_operation_t *operation = tag;

    ((sim_operation_t *)operation->user_data)->late = true;
}

/* ---- excuses ---- */

#define LATE (10 * SIM_MS)      /* that a limit may take effect */
#define AFTERMATH (20 * SIM_MS) /* how long what befell a process may have consequences */

static bool befell(const sim_process_t *process, sim_trouble_t trouble, uint64_t since) {
    return process->last[trouble] > 0 && process->last[trouble] + AFTERMATH > since;
}

/* Whether it befell this side or the other, as far as that is known. */
static bool had(const sim_operation_t *one, sim_trouble_t trouble) {
    const sim_operation_t *other = is_active(one) ? one->offer : one->partner;

    return befell(one->process, trouble, one->created) ||
           (other != NULL && befell(other->process, trouble, one->created));
}

static bool stood_still(const sim_operation_t *one) {
    return had(one, SIM_STOPS) || had(one, SIM_JUMPS) || had(one, SIM_DELAYS);
}

static bool broke(const sim_process_t *here, const sim_process_t *there, uint64_t since) {
    uint64_t last = sim_network_broken(here->slot, there->slot);

    return last > 0 && last + AFTERMATH > since;
}

/* Whether the connection between the two may have ended without a word. */
static bool came_apart(const sim_operation_t *one) {
    const sim_operation_t *other = is_active(one) ? one->offer : one->partner;
    const sim_process_t *here = one->process, *there;

    if (other == NULL) {
        return true;
    }
    there = other->process;
    return broke(here, there, one->created) || !there->alive || sim.slots[there->slot] != there ||
           had(one, SIM_DEATHS) || here->is_small || there->is_small || had(one, SIM_DIALS) ||
           had(one, SIM_SHORTAGES) || stood_still(one);
}

/* Whether one of the two connectors has closed. */
static bool closed(const sim_operation_t *one) {
    const sim_operation_t *other = is_active(one) ? one->offer : one->partner;

    return one->process->last_closed > one->created ||
           (other != NULL && other->process->last_closed > other->created);
}

static bool was_let_go(const sim_operation_t *one) {
    return one->let_go > 0 || (one->process->last_closed > one->created);
}

/* Where frames name no link, a request may come by a connection that its receiver has given up for
 * want of room: the receiver then answers by a new one, and the sender, who has lost the old one,
 * does not know of that. */
static bool crossed(const sim_operation_t *one) {
    const sim_operation_t *other = is_active(one) ? one->offer : one->partner;

    return sim.carriers != SIM_PRIVATE && other != NULL &&
           (one->process->is_small || other->process->is_small ||
            broke(one->process, other->process, one->created));
}

/* Why it may have ended so. */
static bool is_excused(const sim_operation_t *one) {
    const sim_operation_t *other = is_active(one) ? one->offer : one->partner;

    if (had(one, SIM_SHORTAGES) && one->error != ROPEWAY_ERR_INTEGRITY) {
        return true;
    }
    switch (one->error) {
    case ROPEWAY_ERR_CANCELLED:
        return was_let_go(one) || (other != NULL && was_let_go(other));
    case ROPEWAY_ERR_DEADLINE:
        return one->deadline_ms > 0 || (other != NULL && other->deadline_ms > 0);
    case ROPEWAY_ERR_STALLED: /* who asked, and who was asked, hear of each other by the stream */
        return stood_still(one) || (had(one, SIM_DIALS) && !sim_was_left(one)) || crossed(one) ||
               sim_was_misled(one) || strstr(one->text, "min_rate") != NULL;
    case ROPEWAY_ERR_PEER_LOST: /* with no peer of its own a connector says goodbye to nobody */
        return came_apart(one) || had(one, SIM_REFUSALS) ||
               (sim.carriers != SIM_PRIVATE && closed(one));
    case ROPEWAY_ERR_UNREACHABLE:
    case ROPEWAY_ERR_PEER_CLOSED:
        return came_apart(one) || closed(one) || sim_was_misled(one);
    case ROPEWAY_ERR_INTEGRITY:
        return one->spoiled || (other != NULL && other->spoiled);
    case ROPEWAY_ERR_PROTOCOL:
        return had(one, SIM_LIES);
    case ROPEWAY_ERR_TRANSPORT:
        return came_apart(one) || closed(one) || had(one, SIM_REFUSALS);
    case ROPEWAY_ERR_KEY_USED:
        return other != NULL && (other->taken > 1 || sim_was_misled(one));
    case ROPEWAY_ERR_KEY_FINISHED:
        return other != NULL && (was_let_go(other) || other->deadline_ms > 0 || other->ended);
    case ROPEWAY_ERR_KEY_UNKNOWN:
        return one->forged || (other != NULL && !other->process->alive) || sim_was_misled(one);
    case ROPEWAY_ERR_LIMIT: /* one's own: of peers, where it goes on with another one */
        return (other != NULL && other->process->is_small) ||
               ((one->asked || (other != NULL && other->asked)) && one->process->is_small);
    case ROPEWAY_ERR_NO_PATH:
        return other != NULL && sim.carriers == SIM_BOTH &&
               (sim_may_lack_way(is_active(one) ? one : other) || had(one, SIM_DIALS) ||
                sim_was_misled(one));
    case ROPEWAY_ERR_VERSION:
        return sim_was_misled(one);
    case ROPEWAY_ERR_UNSUPPORTED: /* no sums of memory of a device are made */
        return other != NULL && (one->on_device || other->on_device) &&
               (one->integrity || other->integrity);
    default:
        return false;
    }
}

/* ---- an outcome ---- */

static const sim_operation_t *find_by_id(const uint8_t id[RW_ID_BYTES]) {
    for (unsigned i = sim_operation_count; i-- > 0;) {
        if (sim_operations[i]->has_id && memcmp(sim_operations[i]->id, id, RW_ID_BYTES) == 0) {
            return sim_operations[i];
        }
    }
    return NULL;
}

/* Who took the offer. */
static void learn_partner(sim_operation_t *one, const ropeway_operation_t *operation) RW_UNCHECKED {
    if (!is_active(one) && operation->peer != NULL) {
        one->partner = (sim_operation_t *)find_by_id(rw_side(operation)->remote);
        if (one->partner == NULL || one->partner->offer != one) {
            sim_fail("%u was taken by one that did not ask for it", one->number);
        }
    }
}

/* Nothing lies between the pieces that did not before. */
static void check_gaps(const sim_operation_t *one) {
    const sim_region_t *region = one->region;
    size_t at = 0;

    for (size_t i = 0; i <= one->piece_count; i++) {
        size_t end = i < one->piece_count ? (size_t)((uint8_t *)one->pieces[i].ptr - region->memory)
                                          : region->used;

        if (!sim_holds(region->memory + at, end - at, region->background, at)) {
            sim_fail("memory beside the pieces of %u was written", one->number);
        }
        at = end + (i < one->piece_count ? one->pieces[i].size : 0);
    }
}

/* One descriptor's bytes of the receiver, of which the first `moved` are the sender's, which begin
 * there at `from`. */
static bool check_descriptor(const sim_operation_t *one, size_t *piece, size_t number,
                             uint64_t from, uint64_t moved, bool complete, uint64_t content) {
    const sim_region_t *region = one->region;
    bool right = true;

    for (size_t i = 0; i < number; i++, ++*piece) {
        const uint8_t *at = one->pieces[*piece].ptr;
        size_t size = one->pieces[*piece].size, place = (size_t)(at - region->memory);
        size_t part = size < moved ? size : (size_t)moved;

        if (!sim_holds(at + part, size - part, region->background, place + part)) {
            sim_fail("%u has bytes past what was asked for", one->number);
        }
        if (sim_holds(at, part, content, from)) {
        } else if (complete) {
            sim_fail("%u is complete, and has other bytes than were sent", one->number);
        } else if (!one->late &&
                   !sim_holds_either(at, part, content, from, region->background, place)) {
            sim_fail("%u has bytes that are none of its sender's", one->number);
        } else {
            right = false;
        }
        moved -= part;
        from += part;
    }
    return right;
}

/* A receiver's memory, when it has ended. */
static void check_received(sim_operation_t *one) {
    bool active = is_active(one), complete = one->status == ROPEWAY_STATUS_COMPLETE;
    const sim_operation_t *sender = active ? one->offer : one->partner;
    const sim_operation_t *asking = active ? one : one->partner;
    uint64_t from = 0;
    size_t piece = 0;

    one->right = sender != NULL;
    if (sender != NULL && sender->spoiled) {
        return; /* what the user did to its bytes is not known */
    }
    for (size_t i = 0; i < one->count; i++) {
        uint64_t moved = sender == NULL ? 0 : i < asking->count ? asking->sizes[i] : 0;

        one->right &= check_descriptor(one, &piece, one->groups[i], from, moved, complete,
                                       sender != NULL ? sender->content : 0);
        from += sender != NULL && i < sender->count ? sender->sizes[i] : 0;
    }
}

/* With integrity the bytes that are here are those of the sender's checksums. */
static void check_sums(const sim_operation_t *one,
                       const ropeway_operation_t *operation) RW_UNCHECKED {
    const rw_side_t *side = rw_side(operation);
    const rw_layout_t *layout = &operation->layout;
    static XXH3_state_t state;
    size_t piece = 0;

    for (size_t i = 0; i < layout->count && side->integrity; i++) {
        XXH3_64bits_reset(&state);
        for (size_t left = layout->descriptors[i].size; left > 0; piece++) {
            XXH3_64bits_update(&state, layout->pieces[piece].ptr, layout->pieces[piece].size);
            left -= layout->pieces[piece].size;
        }
        while (piece < layout->piece_count && layout->piece_starts[piece] < layout->starts[i + 1]) {
            piece++;
        }
        if (side->sums == NULL || XXH3_64bits_digest(&state) != side->sums->theirs[i]) {
            sim_fail("%u is complete, and its bytes are not those of the sender's checksum",
                     one->number);
        }
    }
}

static const char *const outcome_names[] = {"", "", "", "complete", "cancelled", "errored"};

static void see(const sim_operation_t *one, const ropeway_operation_t *operation) RW_UNCHECKED {
    const rw_side_t *side = rw_side(operation);
    bool bound = operation->peer != NULL;
    const bool traits[] = {one->is_sender && side->out.state == RW_SENDER_INLINE,
                           side->pulled,
                           side->integrity,
                           one->prefix,
                           one->grouped,
                           one->total == 0,
                           !one->is_sender && side->in.claimed.capacity > 0,
                           one->total > (uint64_t)512 << 10,
                           bound && !operation->link->kind->host_only,
                           one->on_device};

    sim_sights->outcomes[one->kind][one->error]++;
    sim_sights->askers[is_active(one)][one->status] += side->asking;
    if (bound && one->is_sender) {
        sim_sights->senders[side->out.state][one->status]++;
    } else if (bound) {
        sim_sights->receivers[side->in.state][one->status]++;
    }
    for (unsigned i = 0;
         i < sizeof traits / sizeof *traits && one->status == ROPEWAY_STATUS_COMPLETE; i++) {
        sim_sights->traits[i] += traits[i];
    }
}

void sim_on_outcome(const ropeway_operation_t *operation) RW_UNCHECKED {
    sim_operation_t *one = operation->user_data;
    size_t flights, bytes;

    if (one->ended) {
        sim_fail("%u ends twice", one->number);
    }
    learn_partner(one, operation);
    one->was_kept = !is_active(one) && rw_side(operation)->asking;
    one->ended = true;
    one->ended_at = sim.now;
    one->status = operation->end_status;
    one->error = operation->error;
    if (operation->text != NULL) {
        strncpy(one->text, operation->text, sizeof one->text - 1);
    }
    sim_note("%u is %s: %s %s", one->number, outcome_names[one->status],
             ropeway_error_name(one->error), one->text);
    see(one, operation);
    sim_census(one->process, operation, &flights, &bytes);
    if (flights > 0) {
        sim_fail("%u ends, and %zu flights have its memory", one->number, flights);
    }
    if ((one->status == ROPEWAY_STATUS_COMPLETE) != (one->error == ROPEWAY_OK) ||
        (one->status == ROPEWAY_STATUS_CANCELLED) != (one->error == ROPEWAY_ERR_CANCELLED) ||
        one->status < ROPEWAY_STATUS_COMPLETE) {
        sim_fail("%u is %s with %s", one->number, outcome_names[one->status],
                 ropeway_error_name(one->error));
    }
    if (one->status == ROPEWAY_STATUS_COMPLETE &&
        atomic_load(&operation->done) != atomic_load(&operation->total)) {
        sim_fail("%u is complete after %llu of %llu bytes", one->number,
                 (unsigned long long)atomic_load(&operation->done),
                 (unsigned long long)atomic_load(&operation->total));
    }
    if (one->forged && one->status == ROPEWAY_STATUS_COMPLETE) {
        sim_fail("%u has nobody's key, and is complete", one->number);
    }
    if (sim.carriers == SIM_BOTH && is_active(one) && one->status == ROPEWAY_STATUS_COMPLETE) {
        sim_check_way(one, operation);
    }
    check_gaps(one);
    if (!one->is_sender) {
        if (one->status == ROPEWAY_STATUS_COMPLETE) {
            check_sums(one, operation);
        }
        check_received(one);
    }
    sim_region_give(one->region);
    one->region = NULL;
    sim_check_pairs();
}

/* ---- pairs ---- */

static bool is_failure(const sim_operation_t *one) {
    switch (one->error) {
    case ROPEWAY_ERR_DEADLINE:
    case ROPEWAY_ERR_STALLED:
    case ROPEWAY_ERR_PEER_LOST:
    case ROPEWAY_ERR_PEER_CLOSED:
    case ROPEWAY_ERR_UNREACHABLE:
    case ROPEWAY_ERR_NO_MEMORY:
        return true;
    case ROPEWAY_ERR_PROTOCOL:
        return had(one, SIM_LIES);
    case ROPEWAY_ERR_KEY_USED: /* it was asked for twice */
        return sim_was_misled(one);
    default:
        return false;
    }
}

/* The one side is complete, and the other is not. */
static void check_difference(const sim_operation_t *complete, const sim_operation_t *other) {
    bool excused = other->status == ROPEWAY_STATUS_CANCELLED
                       ? strstr(other->text, "not confirm") != NULL || other->text[0] == '\0' ||
                             (strstr(other->text, "already begun") != NULL && sim_was_misled(other))
                       : is_failure(other);

    if (!excused) {
        sim_fail("%u is complete, and the other side, %u, is not: %s", complete->number,
                 other->number, other->text);
    }
}

static void check_pair(sim_operation_t *active) {
    sim_operation_t *offer = active->offer;
    bool complete = active->status == ROPEWAY_STATUS_COMPLETE;
    const sim_operation_t *receiver = active->is_sender ? offer : active;
    const sim_operation_t *sender = active->is_sender ? active : offer;

    active->judged = true;
    if (complete && offer->partner != active) {
        sim_fail("%u is complete, and its offer %u was not its own", active->number, offer->number);
    }
    if (offer->partner != active) {
        return;
    }
    sim_sights->pairs[offer->status][active->status]++;
    if (complete && offer->status != ROPEWAY_STATUS_COMPLETE) {
        check_difference(active, offer);
    } else if (!complete && offer->status == ROPEWAY_STATUS_COMPLETE) {
        check_difference(offer, active);
    }
    if (sender->status == ROPEWAY_STATUS_COMPLETE && !receiver->right && !sender->spoiled) {
        sim_fail("the sender %u is complete, and the receiver %u lacks bytes", sender->number,
                 receiver->number);
    }
}

void sim_check_pairs(void) {
    for (unsigned i = 0; i < sim_operation_count; i++) {
        sim_operation_t *one = sim_operations[i];

        if (is_active(one) && one->ended && !one->judged && one->offer->ended) {
            check_pair(one);
        }
    }
}

static void check_excuses(void) {
    for (unsigned i = 0; i < sim_operation_count; i++) {
        const sim_operation_t *one = sim_operations[i];

        if (one->ended && one->status != ROPEWAY_STATUS_COMPLETE && !is_excused(one)) {
            sim_fail("%u has ended with %s, and nothing explains that: %s", one->number,
                     ropeway_error_name(one->error), one->text);
        }
    }
}

/* ---- what users see ---- */

void sim_check_answers(const sim_operation_t *one) {
    ropeway_status_t status = ropeway_operation_status(one->handle);

    if (!one->ended) {
        if (status >= ROPEWAY_STATUS_COMPLETE) {
            sim_fail("%u says that it has ended, and it has not", one->number);
        }
        return;
    }
    if (status != one->status || ropeway_operation_error(one->handle) != one->error ||
        strncmp(ropeway_operation_error_text(one->handle), one->text, sizeof one->text - 1) != 0) {
        sim_fail("%u says %s with %s, and was %s with %s", one->number, ropeway_status_name(status),
                 ropeway_error_name(ropeway_operation_error(one->handle)),
                 ropeway_status_name(one->status), ropeway_error_name(one->error));
    }
}

void sim_check_refused(const sim_operation_t *one, ropeway_error_t error) {
    const sim_process_t *process = one->process;
    const sim_operation_t *other = one->offer;
    bool fine = false;

    sim_sights->refusals[error]++;
    switch (error) {
    case ROPEWAY_ERR_NO_MEMORY:
    case ROPEWAY_ERR_SYSTEM:
        break;
    case ROPEWAY_ERR_LIMIT:
        fine = process->is_small;
        break;
    case ROPEWAY_ERR_KIND_MISMATCH:
    case ROPEWAY_ERR_COUNT_MISMATCH:
    case ROPEWAY_ERR_SIZE_MISMATCH:
        fine = one->wrong;
        break;
    case ROPEWAY_ERR_DEVICE:
        fine = one->on_device && (!process->has_device || !sim_has_fabric(process));
        break;
    case ROPEWAY_ERR_UNSUPPORTED:
        fine = one->on_device && one->integrity;
        break;
    case ROPEWAY_ERR_TRANSPORT:
        fine = sim_may_not_start(one);
        break;
    case ROPEWAY_ERR_NO_PATH:
        fine = other != NULL && sim.carriers == SIM_BOTH &&
               (sim_may_lack_way(one) || befell(process, SIM_DIALS, one->created) ||
                sim_was_misled(one));
        break;
    case ROPEWAY_ERR_VERSION:
    case ROPEWAY_ERR_PROTOCOL: /* it told of its fabric what nobody understands */
        fine = sim_was_misled(one);
        break;
    case ROPEWAY_ERR_UNREACHABLE: /* a lie may lead to somebody else, who is gone */
        fine = other != NULL && (!other->process->alive || other->process->last_closed > 0 ||
                                 other->process->connector != other->connector);
        fine = fine || sim_was_misled(one);
        break;
    default:
        break;
    }
    if (!fine && !befell(process, SIM_SHORTAGES, one->created)) {
        sim_fail("%u was refused with %s: %s", one->number, ropeway_error_name(error),
                 ropeway_last_error());
    }
}

bool sim_must_end(const sim_operation_t *one) {
    if (one->stall_ms == 0 && (had(one, SIM_SHORTAGES) || !is_active(one))) {
        return false;
    }
    return is_active(one) || (ropeway_operation_status(one->handle) == ROPEWAY_STATUS_IN_PROGRESS);
}

void sim_check_released(sim_operation_t *one, uint64_t took, uint64_t began) {
    uint64_t limit = (2 * (uint64_t)one->process->options.quiet_ms + 50) * SIM_MS;

    if (!one->ended) {
        sim_fail("%u is released, and it has not ended", one->number);
    }
    if (one->with_callback && one->callbacks != 1) {
        sim_fail("%u is released, and its callback ran %u times", one->number, one->callbacks);
    }
    if (took > limit && !befell(one->process, SIM_STOPS, began) &&
        !befell(one->process, SIM_JUMPS, began) && !one->with_callback) {
        sim_fail("the release of %u took %llu ms", one->number,
                 (unsigned long long)(took / SIM_MS));
    }
}

/* ---- at every turn ---- */

static size_t length_of(const rw_node_t *list) {
    size_t length = 0;

    for (const rw_node_t *node = list->next; node != list; node = node->next) {
        length++;
    }
    return length;
}

/* Once the outcome is decided, memory is given back, and no more is lent. */
static void check_ending(const sim_port_t *port, const ropeway_operation_t *operation,
                         size_t flights) RW_UNCHECKED {
    sim_operation_t *one = operation->user_data;

    if (operation->phase != RW_PHASE_ENDING) {
        return;
    }
    if (flights == 0) {
        sim_fail("%u is quiet, and does not end", one->number);
    }
    if (operation->link->kind->is_private && flights > sim_port_fetching(port, operation)) {
        sim_fail("%u does not get back at once what it can", one->number);
    }
    if (one->is_ending && flights > one->held) {
        sim_fail("%u lends more memory after its outcome was decided", one->number);
    }
    one->is_ending = true;
    one->held = flights;
}

/* Where the operation's link ends. */
static const sim_port_t *port_of(const ropeway_operation_t *operation) RW_UNCHECKED {
    const rw_link_t *link = operation->link;

    return link != NULL ? rw_links_carrier(operation->connector, link->kind)->state : NULL;
}

static void check_operations(const sim_process_t *process,
                             const ropeway_connector_t *connector) RW_UNCHECKED {
    const rw_node_t *live = &connector->operations->live;
    size_t flights, bytes, held = 0;

    for (const rw_node_t *node = live->next; node != live; node = node->next) {
        const ropeway_operation_t *operation = RW_CONTAINER(node, const ropeway_operation_t, live);

        const sim_port_t *port = port_of(operation);

        flights = bytes = 0;
        if (port != NULL) {
            sim_port_census(port, operation, &flights, &bytes);
        }
        if (flights != operation->inflight) {
            sim_fail("%zu flights have memory of an operation that knows of %zu", flights,
                     operation->inflight);
        }
        held += bytes;
        if (operation->is_sender && flights > connector->options.window) {
            sim_fail("an operation has %zu flights, and its window is %u", flights,
                     connector->options.window);
        }
        check_ending(port, operation, flights);
    }
    sim_census(process, NULL, &flights, &bytes);
    if (bytes != connector->stats.bytes_inflight || bytes != held) {
        sim_fail("%zu bytes are in flight, %zu of live operations, and %llu are counted", bytes,
                 held, (unsigned long long)connector->stats.bytes_inflight);
    }
}

/* Whether its clock jumped, or it was stopped, after it had looked how long it might sleep, and
 * before it slept: it is late by so much. */
static bool oversleeps(const sim_process_t *process) RW_UNCHECKED {
    const struct rw_progress *progress = process->attached->progress;

    return (process->last[SIM_JUMPS] > 0 || process->last[SIM_STOPS] > 0) && progress->sleeping &&
           progress->sleep_until <= sim_clock(process);
}

/* Time has passed: no operation lives past its limits. */
void sim_check_limits(const sim_process_t *process) RW_UNCHECKED {
    const ropeway_connector_t *connector = process->attached;
    uint64_t now = sim_clock(process);
    const rw_node_t *live;

    if (process->connector == NULL || !process->alive || process->stopped ||
        befell(process, SIM_STOPS, sim.now) || befell(process, SIM_JUMPS, sim.now) ||
        oversleeps(process)) {
        return;
    }
    live = &connector->operations->live;
    for (const rw_node_t *node = live->next; node != live; node = node->next) {
        const ropeway_operation_t *operation = RW_CONTAINER(node, const ropeway_operation_t, live);
        const sim_operation_t *one = operation->user_data;
        const uint64_t moved = operation->last_moved, due = operation->quiet_due;
        const bool is_paced = connector->options.min_rate > 0 && operation->stall != RW_NEVER &&
                              atomic_load(&operation->done) < operation->layout.total;

        if (operation->phase < RW_PHASE_ENDING && operation->deadline != RW_NEVER &&
            now > operation->deadline + LATE) {
            sim_fail("%u lives past its deadline", one->number);
        }
        if (operation->phase == RW_PHASE_MOVING && operation->stall != RW_NEVER &&
            now > moved + operation->stall + LATE) {
            sim_fail("%u lives past its stall limit", one->number);
        }
        if (operation->phase == RW_PHASE_MOVING && is_paced &&
            now > operation->paced_at + operation->stall + LATE) {
            sim_fail("%u is slow, and nobody looks", one->number);
        }
        if (due != RW_NEVER && now > due + LATE) {
            sim_fail("%u has more patience than it should", one->number);
        }
    }
}

static void check_events(const rw_events_t *events) RW_UNCHECKED {
    size_t taken = 0;

    for (size_t i = 0; i < events->capacity; i++) {
        taken += events->slots[i].watcher != NULL;
    }
    if (taken != sim_epoll_watched(events->epoll)) {
        sim_fail("%zu slots are taken, and %u descriptors waited for", taken,
                 sim_epoll_watched(events->epoll));
    }
}

void sim_check_step(void) RW_UNCHECKED {
    const sim_process_t *process;
    const ropeway_connector_t *connector;
    size_t live;

    for (unsigned i = 0; i < sim.count; i++) {
        process = sim.slots[i];
        connector = process->attached;
        if (!process->alive || process->connector == NULL || connector == NULL ||
            !process->touched || !sim_mutex_is_free(&connector->lock.mutex)) {
            continue;
        }
        sim.slots[i]->touched = false;
        live = length_of(&connector->operations->live);
        if (live != connector->stats.operations_live ||
            live != connector->operations->table.count || live != connector->timers.promised) {
            sim_fail("%zu operations live, %llu are counted, %zu are in the table, %zu have timers",
                     live, (unsigned long long)connector->stats.operations_live,
                     connector->operations->table.count, connector->timers.promised);
        }
        if (live > connector->options.max_operations) {
            sim_fail("%zu operations live, and the limit is %u", live,
                     connector->options.max_operations);
        }
        if (length_of(&connector->peers->used) != connector->stats.peers ||
            connector->peers->table.count != connector->stats.peers ||
            connector->stats.peers > connector->options.max_peers) {
            sim_fail("%zu peers are open, %zu in the table, and %llu are counted",
                     length_of(&connector->peers->used), connector->peers->table.count,
                     (unsigned long long)connector->stats.peers);
        }
        check_operations(process, connector);
        sim_check_room(connector);
        check_events(&connector->events);
    }
}

/* Nothing is under way any more: only what is kept for later is left. */
void sim_check_quiet(const sim_process_t *process) RW_UNCHECKED {
    const ropeway_connector_t *connector = process->connector;
    const rw_node_t *used = &connector->peers->used;

    if (connector->references != 1 || connector->stats.operations_live != 0 ||
        connector->stats.bytes_inflight != 0 || connector->native->rejects != 0 ||
        connector->operations->starved_count != 0 ||
        !rw_list_is_empty(&connector->operations->starved) ||
        connector->operations->inflight != 0 || !rw_list_is_empty(&connector->operations->events) ||
        !rw_list_is_empty(&connector->operations->callbacks) ||
        connector->stats.memory_registered != 0 || connector->timers.count != 0) {
        sim_fail(
            "nobody works, and the connector has %u references, %zu refusals on their way, %zu "
            "timers, %llu operations, %llu bytes in flight, %llu bytes registered",
            connector->references, connector->native->rejects, connector->timers.count,
            (unsigned long long)connector->stats.operations_live,
            (unsigned long long)connector->stats.bytes_inflight,
            (unsigned long long)connector->stats.memory_registered);
    }
    for (const rw_node_t *node = used->next; node != used; node = node->next) {
        const rw_peer_t *peer = RW_CONTAINER(node, const rw_peer_t, node_used);

        if (!rw_list_is_empty(&peer->users) || peer->references != 1 || peer->link == NULL ||
            peer->link->references != 1 || peer->link->refusals != 0) {
            sim_fail("nobody works, and the peer \"%s\" has %u references, its link %u", peer->name,
                     peer->references, peer->link->references);
        }
    }
    if (connector->stats.operations_created != connector->stats.operations_completed +
                                                   connector->stats.operations_cancelled +
                                                   connector->stats.operations_errored) {
        sim_fail("the counts of outcomes do not add up");
    }
}

/* The schedule is over. */
void sim_check_end(void) {
    sim_check_pairs();
    check_excuses();
    for (unsigned i = 0; i < sim_operation_count; i++) {
        const sim_operation_t *one = sim_operations[i];

        if (!one->dead && !one->released) {
            sim_fail("%u was never released", one->number);
        }
    }
    if (sim_descriptors_open() > 0) {
        sim_fail("%u descriptors are left", sim_descriptors_open());
    }
    if (sim_network_open() > 0) {
        sim_fail("%u ends of connections are left", sim_network_open());
    }
    sim_regions_check();
}
