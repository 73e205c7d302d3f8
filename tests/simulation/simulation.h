/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated world for the library: several processes, each with a connector, on fibers in one
 * thread. Time, randomness, threads, locks, memory, descriptors and the network come from here, and
 * every decision comes from one seed, so that a schedule can be played again. docs/design.md tells
 * what is held against it.
 *
 *   random.c     numbers from the seed, and the trace
 *   fibers.c     threads, mutexes and conditions; who runs next
 *   system.c     the rest of the system: clock, descriptors, the ends of processes
 *   memory.c     the allocator, which counts, fails, and forgets what a dead process had
 *   network.c    connections
 *   flow.c       what leaves and arrives by them
 *   parcel.c     frames on their way
 *   link.c       two kinds of link over them
 *   carriers.c   connectors that have two carriers, and what must hold of them
 *   process.c    processes and their lives
 *   regions.c    the memory that operations use
 *   workload.c   what users do
 *   oracle.c     what must hold
 *   sights.c     what schedules have reached
 *   world.c      one schedule: its settings, its faults, its end
 *   main.c       many of them, in child processes; failures are made small and told
 */
#ifndef SIM_SIMULATION_H
#define SIM_SIMULATION_H

#include "base/connector.h"
#include "ropeway.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SIM_US ((uint64_t)1000)
#define SIM_MS ((uint64_t)1000000)

#define SIM_PROCESSES 6 /* at a time */
#define SIM_LIVES 64    /* processes in one schedule, one after the other */
#define SIM_PORTS 2     /* of a process: its connector's first carrier's, and its second's */

/* What a schedule's connectors have. */
typedef enum sim_carriers {
    SIM_SHARED,  /* one, whose links are shared; see link.c */
    SIM_PRIVATE, /* one, whose links are private */
    SIM_BOTH     /* what their options say; see carriers.c */
} sim_carriers_t;

/* What the option transports of one with two carriers names. */
typedef enum sim_named { SIM_NAMES_NOTHING, SIM_NAMES_FABRIC, SIM_NAMES_STREAM } sim_named_t;

/* What can be left out of a schedule: the rest of it stays much the same. */
typedef enum sim_trouble {
    SIM_RESETS,    /* connections break, at any byte */
    SIM_DELAYS,    /* connections stand still for a while */
    SIM_STOPS,     /* processes are stopped and go on */
    SIM_DEATHS,    /* processes are killed, and return under their names */
    SIM_JUMPS,     /* clocks jump ahead */
    SIM_SHORTAGES, /* memory and descriptors run out */
    SIM_REFUSALS,  /* memory can't be fetched */
    SIM_DIALS,     /* connections can't be made */
    SIM_LIMITS,    /* connectors have small limits */
    SIM_CANCELS,   /* operations are cancelled */
    SIM_RELEASES,  /* operations are released while they live */
    SIM_DEADLINES, /* operations have short deadlines */
    SIM_MISUSE,    /* metadata is used twice, for the wrong kind or with wrong sizes */
    SIM_RESTARTS,  /* connectors are destroyed, and made anew */
    SIM_LIES,      /* a peer sends what it may not */
    SIM_SPOILERS,  /* users change memory while it is sent, with integrity */
    SIM_LARGE,     /* some operations are large */
    SIM_TURNS,     /* fibers are interrupted often */
    SIM_STARTS,    /* second carriers can't start */
    SIM_TROUBLES
} sim_trouble_t;

extern const char *const sim_trouble_names[SIM_TROUBLES];

/* ---- random.c ---- */

typedef struct sim_random {
    uint64_t state;
} sim_random_t;

uint64_t sim_draw(sim_random_t *random);
/* From 0 to below - 1; 0 of 0. */
uint64_t sim_below(sim_random_t *random, uint64_t below);
/* From least to most. */
uint64_t sim_between(sim_random_t *random, uint64_t least, uint64_t most);
bool sim_chance(sim_random_t *random, unsigned permille);
/* A stream of its own for this purpose. */
sim_random_t sim_random_for(uint64_t seed, uint64_t purpose);

/* Part of the trace, whose hash says whether two schedules are the same; printed when it is asked
 * for. */
void sim_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something does not hold: prints it, and ends this process. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the world ---- */

typedef struct sim_fiber sim_fiber_t;
typedef struct sim_port sim_port_t;
typedef struct sim_operation sim_operation_t;

/* A region of memory that one operation at a time uses. */
typedef struct sim_region {
    uint8_t *memory;
    size_t size, used;   /* bytes of it that are looked at */
    uint64_t background; /* what its bytes are where nobody has written; see sim_fill() */
    bool taken;
    uint64_t freed; /* the latest one that was freed is used first */
} sim_region_t;

#define SIM_REGIONS 12
#define SIM_MEMORIES 3

typedef struct sim_process {
    unsigned number, slot;
    pid_t pid;
    char name[16];
    unsigned host;
    bool alive, stopped;
    uint64_t offset;       /* of its clock */
    uint64_t resume;       /* when a stopped one goes on */
    unsigned shortage;     /* permille of allocations that fail */
    uint64_t shortage_end; /* when that ends */
    ropeway_connector_t *connector;
    ropeway_connector_options_t options; /* of it */
    ropeway_connector_t *attached;       /* to the log */
    sim_port_t *ports[SIM_PORTS];
    /* Where there are two carriers. */
    sim_named_t named;
    bool rdma_up;                             /* the second is the preferred one */
    bool has_device;                          /* and there is memory of a device, which it moves */
    unsigned no_fabric;                       /* permille of its starts that fail */
    size_t address_length;                    /* of its address */
    size_t blocks;                            /* of memory */
    ropeway_memory_t *memories[SIM_MEMORIES]; /* that its users have registered; NULL: none */
    unsigned calls;                           /* of users into the connector */
    unsigned releases;                        /* of operations, begun so far */
    unsigned at_release;                      /* users inside of one */
    bool lost_count; /* of what was drained: a handle may have been of another one */
    bool closing;    /* no more of them */
    bool leaving;    /* its users shall end */
    bool is_done;    /* its users have ended: what its handlers register is released at once */
    unsigned users;  /* fibers at work */
    unsigned budget; /* actions left to its users */
    bool has_ended;
    bool touched;                /* it has run since it was looked at */
    uint64_t last[SIM_TROUBLES]; /* when that befell it, on the world's clock; 0: never */
    uint64_t last_closed;        /* when its connector began to close; 0: never */
    bool is_small;               /* it has small limits */
} sim_process_t;

typedef struct sim_world {
    uint64_t seed;
    uint32_t enabled; /* bits: troubles */
    bool verbose;
    sim_random_t schedule, network, faults, secrets, setup;
    uint64_t now;   /* nanoseconds */
    uint64_t steps; /* turns of fibers */
    uint64_t hash;
    unsigned turns; /* permille: how often a fiber is interrupted where it may be */
    unsigned count; /* slots in use */
    bool one_host;  /* all processes are on it */
    sim_carriers_t carriers;
    bool is_calm;  /* faults have ended */
    uint64_t calm; /* when */
    uint64_t next_fault;
    unsigned faults_left;
    unsigned budget; /* actions per process */
    sim_process_t *slots[SIM_PROCESSES];
    sim_process_t lives[SIM_LIVES];
    unsigned life_count;
    sim_region_t regions[SIM_PROCESSES][SIM_REGIONS];
    sim_fiber_t *current; /* NULL: the scheduler */
    uint64_t latency;     /* of the network, at most */
    sim_random_t choices; /* of carriers */
    sim_random_t paces;   /* of least rates */
    uint64_t fabric_latency;
    bool has_local; /* who is on one host knows that */
} sim_world_t;

extern sim_world_t sim;

static inline bool sim_may(sim_trouble_t trouble) {
    return (sim.enabled >> trouble & 1) != 0;
}

/* It befalls the process until then. */
static inline void sim_befall(sim_process_t *process, sim_trouble_t trouble, uint64_t until) {
    if (until > process->last[trouble]) {
        process->last[trouble] = until;
    }
}

/* ---- fibers.c ---- */

/* Starts one. Its stack goes when it has ended. */
sim_fiber_t *sim_spawn(sim_process_t *process, void *(*run)(void *), void *argument,
                       const char *what);
sim_process_t *sim_here(void); /* NULL: none runs */
/* Lets others run. */
void sim_pause(void);
/* The same, now and then. */
void sim_maybe_pause(void);
void sim_sleep(uint64_t nanoseconds);
/* Until is_over(argument), or the process's clock says due. */
void sim_wait(bool (*is_over)(const void *), const void *argument, uint64_t due);
bool sim_fiber_has_ended(const sim_fiber_t *fiber);
/* The process is dead: none of its fibers runs again. */
void sim_fibers_kill(const sim_process_t *process);
/* Lets one fiber run until it pauses. false: none can. */
bool sim_fibers_turn(void);
/* When the first one could run; RW_NEVER: none ever. */
uint64_t sim_fibers_due(void);
bool sim_fibers_any(void);
/* Who waits for what. */
void sim_fibers_print(void);
void sim_fibers_reset(void);
bool sim_mutex_is_free(const pthread_mutex_t *mutex);

/* ---- system.c ---- */

uint64_t sim_clock(const sim_process_t *process);
/* A descriptor that is readable when the port has something to do. */
int sim_descriptor_of_port(sim_port_t *port);
void sim_descriptor_close(int descriptor);
bool sim_epoll_is_ready(int epoll);
/* When it will be, as far as that is known. */
uint64_t sim_epoll_due(int epoll);
/* How many it waits for. */
unsigned sim_epoll_watched(int epoll);
/* The process is dead: closes what it had. */
void sim_descriptors_kill(const sim_process_t *process);
unsigned sim_descriptors_open(void);
void sim_descriptors_reset(void);

/* ---- memory.c ---- */

/* The simulation's own memory: neither counted nor refused, and zeroed. */
void *sim_take(size_t size);
void sim_give(void *block);
bool sim_is_short(sim_process_t *process); /* an allocation is to fail now */
void sim_memory_kill(sim_process_t *process);
void sim_memory_reset(void);

/* ---- carriers.c ---- */

/* What the process's connector has. */
void sim_carriers_choose(sim_process_t *process);
/* It can, or could if that started. */
bool sim_has_fabric(const sim_process_t *process);

/* ---- network.c, link.c ---- */

/* When the port has something to do; and when its descriptor says so: it must be armed. */
uint64_t sim_port_due(const sim_port_t *port);
uint64_t sim_port_event(const sim_port_t *port);
/* Moves a piece of what is being fetched. false: nothing is. */
bool sim_network_turn(void);
bool sim_network_is_busy(void);
/* The flights that have this operation's memory, and their bytes; of all operations: NULL. */
void sim_census(const sim_process_t *process, const void *tag, size_t *flights, size_t *bytes);
void sim_port_census(const sim_port_t *port, const void *tag, size_t *flights, size_t *bytes);
/* Those of them that somebody is at. */
size_t sim_port_fetching(const sim_port_t *port, const void *tag);
/* Breaks a connection, or delays one, if there is any. */
void sim_network_break(void);
void sim_network_delay(void);
/* The process is dead. */
void sim_network_kill(sim_process_t *process);
/* When a connection between the two broke last; 0: never. */
uint64_t sim_network_broken(unsigned slot, unsigned other);
void sim_network_note_broken(const sim_process_t *one, const sim_process_t *other);
/* When no delay that was decided on holds up a connection any more, from now on. */
uint64_t sim_network_moves_at(void);
unsigned sim_network_open(void);
void sim_network_reset(void);

/* ---- process.c ---- */

/* Starts one in this slot. */
void sim_process_start(unsigned slot);
void sim_process_kill(sim_process_t *process);
/* Whether its users have done what they wanted to. */
bool sim_process_rests(const sim_process_t *process);

/* ---- regions.c ---- */

/* Memory of a device is a region's, by an address that nobody can touch: only the fabric knows
 * better. */
#define SIM_DEVICE ((uintptr_t)1 << 52)
static inline void *sim_reach(void *at) {
    return (void *)((uintptr_t)at & ~SIM_DEVICE);
}

/* NULL: none is free that is large enough. */
sim_region_t *sim_region_take(sim_process_t *process, size_t size);
/* Fills it with something else. */
void sim_region_give(sim_region_t *region);
uint64_t sim_content(void); /* a new one */
/* Bytes that are a function of the content and the offset, the first one's. */
void sim_fill(uint8_t *memory, size_t length, uint64_t content, uint64_t offset);
bool sim_holds(const uint8_t *memory, size_t length, uint64_t content, uint64_t offset);
/* Each byte is one content's or the other's. */
bool sim_holds_either(const uint8_t *memory, size_t length, uint64_t one, uint64_t at_one,
                      uint64_t other, uint64_t at_other);
void sim_regions_check(void);
void sim_regions_reset(void);

/* ---- workload.c ---- */

void *sim_user(void *process);
/* Ends what is left of the process's operations. */
void sim_users_finish(sim_process_t *process);
void sim_workload_reset(void);

/* ---- sights.c ---- */

#define SIM_ERRORS 33
#define SIM_STATUSES 6

/* What befell two carriers. */
typedef enum sim_way {
    SIM_WAY_STARTS,  /* a second carrier starts */
    SIM_WAY_FAILS,   /* it can't */
    SIM_WAY_ASKED,   /* a request asks for it */
    SIM_WAY_TOLD,    /* a WAY with a hello is sent */
    SIM_WAY_NONE,    /* one without */
    SIM_WAY_LEADS,   /* who asked goes on by it */
    SIM_WAY_STAYS,   /* he goes on by the link that he asked by */
    SIM_WAY_COMES,   /* who was asked sees him come by it */
    SIM_WAY_RETURNS, /* he comes by the link that he asked by */
    SIM_WAY_KNOWN,   /* who is known to be reached by it is not asked */
    SIM_WAYS
} sim_way_t;

/* How often what was reached, in all schedules of all processes. */
typedef struct sim_sights {
    _Atomic uint32_t outcomes[5][SIM_ERRORS];           /* by the operation's kind */
    _Atomic uint32_t refusals[SIM_ERRORS];              /* by the call that makes an operation */
    _Atomic uint32_t pairs[SIM_STATUSES][SIM_STATUSES]; /* of the offer, of who took it */
    _Atomic uint32_t senders[5][SIM_STATUSES];          /* a sender's state when it ended */
    _Atomic uint32_t receivers[3][SIM_STATUSES];        /* a receiver's */
    _Atomic uint32_t messages[16];                      /* by type */
    _Atomic uint32_t traits[10];                        /* of what ended in COMPLETE */
    _Atomic uint32_t fetches[2][2];                     /* from and into: one piece, several */
    _Atomic uint32_t askers[2][SIM_STATUSES];           /* who asked, or was asked, at the end */
    _Atomic uint32_t ways[SIM_WAYS];                    /* of second carriers */
} sim_sights_t;

extern sim_sights_t *sim_sights; /* shared by all processes */

/* Prints what was reached, and what was not. */
void sim_sights_print(void);

/* ---- oracle.c ---- */

/* The operation that this flight's tag names gets bytes of memory that was taken back. */
void sim_on_late(const void *tag);
/* After each turn; of those whose fibers have run. */
void sim_check_step(void);
/* A part of it. */
void sim_check_room(const ropeway_connector_t *connector);
/* After time has passed. */
void sim_check_limits(const sim_process_t *process);
/* The process's operations are released, and what they left behind has had time to go. */
void sim_check_quiet(const sim_process_t *process);
/* All processes have ended. */
void sim_check_end(void);

/* ---- world.c ---- */

/* Plays one schedule. */
void sim_play(uint64_t seed, uint32_t enabled, unsigned budget, bool verbose);

#endif
