/* SPDX-License-Identifier: Apache-2.0 */
/* Operations as users see them, and what is known of them. */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "operation/operation.h"
#include "simulation.h"

#define SIM_PIECES 24
#define SIM_OPERATIONS 1024 /* in one schedule */

struct sim_operation {
    unsigned number;
    sim_process_t *process;
    ropeway_connector_t *connector;
    ropeway_operation_t *handle; /* NULL: not made yet, or released, or its process is dead */
    ropeway_operation_kind_t kind;
    bool is_sender, prefix, integrity, notify, with_callback, on_device;
    uint32_t deadline_ms, stall_ms;
    uint64_t created; /* on the world's clock */
    /* memory */
    sim_region_t *region; /* NULL: given back */
    ropeway_descriptor_t pieces[SIM_PIECES];
    ropeway_descriptor_t given[SIM_PIECES]; /* the same, as the library is given them */
    size_t piece_count;
    size_t groups[SIM_PIECES]; /* pieces of each descriptor */
    size_t count;
    bool grouped;
    size_t sizes[SIM_PIECES]; /* of descriptors */
    uint64_t total;
    uint64_t content; /* of a sender */
    bool spoiled;
    /* the other side */
    char *metadata;         /* of an offer */
    unsigned taken;         /* how many were begun on it */
    sim_operation_t *offer; /* that an active one was begun on */
    bool wrong, forged;     /* it does not fit; its key is nobody's */
    uint8_t id[RW_ID_BYTES];
    bool has_id, asked;       /* asked: by a first request, how it goes on */
    bool was_kept;            /* an offer: it ended when it was asked for, and not begun */
    sim_operation_t *partner; /* of an offer that was taken */
    /* what is done with it */
    unsigned users; /* inside calls on its handle */
    bool releasing, released, dead;
    bool cancel_asked;
    uint64_t let_go; /* when it was cancelled, released, or its connector closed; 0: never */
    unsigned callbacks, drained;
    /* the outcome */
    bool is_ending; /* it was seen so */
    size_t held;    /* flights that had its memory then */
    bool ended, judged;
    uint64_t ended_at;
    ropeway_status_t status;
    ropeway_error_t error;
    char text[200];
    bool late;  /* bytes were fetched for it from memory that was taken back */
    bool right; /* of a receiver: every byte is the sender's */
};

extern sim_operation_t *sim_operations[SIM_OPERATIONS];
extern unsigned sim_operation_count;

const char *sim_kind_name(ropeway_operation_kind_t kind);

/* ---- carriers.c ---- */

/* Whether the two may find none that moves what they have. */
bool sim_may_lack_way(const sim_operation_t *active);
/* Whether the call that makes it may fail as the fabric does not start. */
bool sim_may_not_start(const sim_operation_t *one);
/* What a peer has said of how it is reached is kept, and believed. */
bool sim_was_misled(const sim_operation_t *one);
/* It ended long after the other one, who was asked, or had asked and did not come. */
bool sim_was_left(const sim_operation_t *one);
/* It is complete: went by the way that it should. */
void sim_check_way(const sim_operation_t *active, const ropeway_operation_t *operation);

/* ---- oracle.c ---- */

/* It was bound to a peer; it ended. */
void sim_on_bound(ropeway_operation_t *operation);
void sim_check_pairs(void);
void sim_on_outcome(const ropeway_operation_t *operation);
/* A call that makes an operation has failed. */
void sim_check_refused(const sim_operation_t *one, ropeway_error_t error);
/* What the handle says is what the outcome was. */
void sim_check_answers(const sim_operation_t *one);
/* It was released: its memory is the user's. */
void sim_check_released(sim_operation_t *one, uint64_t took, uint64_t began);
/* It should have ended by itself. */
bool sim_must_end(const sim_operation_t *one);

#endif
