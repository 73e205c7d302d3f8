/* SPDX-License-Identifier: Apache-2.0 */
/* UCX as this library uses it: settings, contexts, workers, addresses, registrations. Knows nothing
 * of connectors. */
#ifndef RW_UCX_H
#define RW_UCX_H

#include "ropeway.h"
#include "ucx/address.h"
#include "ucx/load.h"

#include <stdbool.h>
#include <ucp/api/ucp.h>

/* What a context is for decides its features and settings. */
typedef enum rw_ucx_purpose {
    RW_UCX_MESSAGES, /* active messages between peers that speak our protocol */
    RW_UCX_STOCK     /* stock NIXL peers: gets, puts and notifications */
} rw_ucx_purpose_t;

typedef struct rw_ucx_wish {
    rw_ucx_purpose_t purpose;
    const char *transports;  /* as UCX_TLS; NULL: UCX's own choice */
    const char *net_devices; /* as UCX_NET_DEVICES; NULL: all */
    uint32_t keepalive_ms;
} rw_ucx_wish_t;

/* ---- settings.c ---- */

/* Loads UCX, reads its configuration and puts the library's settings in; those that this UCX does
 * not know are left out. Errors: those of rw_ucx_load(), ERR_TRANSPORT. */
ropeway_error_t rw_ucx_read_config(const rw_ucx_wish_t *wish, ucp_config_t **config);
/* Whether the library sets this key (without "UCX_"), or an option of the connector does. */
bool rw_ucx_is_our_setting(const char *key);
/* Whether the environment has UCX_<key>. */
bool rw_ucx_is_users_setting(const char *key);
/* Whether a comma-separated list has this word. */
bool rw_ucx_lists(const char *list, const char *word);
/* Whether TCP is among these transports, or among the environment's where they are NULL. */
bool rw_ucx_uses_tcp(const char *transports);
/* Once UCX is loaded, before the first context: leaves out modules of its that do harm here. */
void rw_ucx_leave_out_modules(void);

/* ---- context.c ---- */

/* Makes a context as wished. Errors: those of rw_ucx_read_config() and rw_ucx_check_start(). */
ropeway_error_t rw_ucx_open_context(const rw_ucx_wish_t *wish, ucp_context_h *context);
/* Makes a worker of a context that was made as wished; *fd: its descriptor, readable when it has
 * work. Errors: ERR_TRANSPORT, those of rw_ucx_check_networks(). */
ropeway_error_t rw_ucx_open_worker(ucp_context_h context, const rw_ucx_wish_t *wish,
                                   ucp_worker_h *worker, int *fd);
bool rw_ucx_has_cuda(ucp_context_h context);
/* *copy: the worker's address, to be freed. Errors: ERR_TRANSPORT, ERR_NO_MEMORY. */
ropeway_error_t rw_ucx_copy_address(ucp_worker_h worker, uint8_t **copy, size_t *length);
/* Connects a worker to the one of this address, which came from a peer. Errors: ERR_NO_PATH with
 * the reason alone as sentence, ERR_NO_MEMORY. */
ropeway_error_t rw_ucx_connect(ucp_worker_h worker, const uint8_t *address, size_t length,
                               ucp_err_handler_cb_t on_error, void *argument, ucp_ep_h *endpoint);
/* Writes the transports of an endpoint, such as "tcp/lo cma/memory"; nothing where UCX can't tell.
 */
void rw_ucx_write_path(ucp_ep_h endpoint, char *path, size_t size);
/* Registers memory. Errors: ERR_TRANSPORT. */
ropeway_error_t rw_ucx_map(ucp_context_h context, const ropeway_descriptor_t *memory,
                           void **registration);
void rw_ucx_unmap(ucp_context_h context, void *registration);
/* Whether this byte of host memory can be registered; tried, and undone. */
bool rw_ucx_can_map(ucp_context_h context, const void *memory);
ucs_memory_type_t rw_ucx_memory_type(ropeway_device_t device);

/* ---- means.c ---- */

/* Whether the thread and the descriptors can be had with which a context starts. Errors:
 * ERR_SYSTEM. */
ropeway_error_t rw_ucx_check_start(void);
/* Whether the networks and ports can be had that a worker needs. Errors: ERR_SYSTEM. */
ropeway_error_t rw_ucx_check_networks(const rw_ucx_wish_t *wish);

/* ---- locked.c ---- */

/* Whether the limit on locked memory leaves this context room to work. Errors: ERR_TRANSPORT. */
ropeway_error_t rw_ucx_check_locked(ucp_context_h context);
/* Why a request failed, as a phrase: UCX's own, or what is behind it. */
const char *rw_ucx_reason(ucs_status_t status);

/* ---- registrable.c ---- */

/* Whether all of this host memory may be read, and its first or last page not be written; false
 * where the kernel can't tell (before Linux 5.14). Its pages are there afterwards. */
bool rw_ucx_is_read_only(const void *memory, size_t size);
/* What the next one needs; -1: not to be had. To be closed by the caller. */
int rw_ucx_open_pagemap(void);
/* Whether the page of this memory, which is there, is one of a file or of a file system in memory,
 * and not this process's alone; false where the kernel does not tell. */
bool rw_ucx_is_of_file(int pagemap, const void *memory);
/* Whether there are devices with which UCX registers host memory. */
bool rw_ucx_may_register(void);

/* ---- ucx_log.c ---- */

/* UCX's lines go to take instead of stdout, from the moment when it is loaded. take: may run on any
 * thread. Returns whether UCX shall print the line as well: it does for those who asked it to. */
typedef bool (*rw_ucx_log_fn)(ropeway_log_level_t level, const char *text);
void rw_ucx_log_to(rw_ucx_log_fn take);
/* UCX has been loaded. */
void rw_ucx_log_install(void);
/* What UCX warns of on this thread, from now on, is added to this text as well, which is emptied;
 * it often is the cause of the status that a function of UCX returns. NULL: no more. */
void rw_ucx_overhear(char *text, size_t size);
/* Whether UCX's lines on this thread are dropped: for what is tried and may fail. */
void rw_ucx_hush(bool hush);
/* A line of our own about it, to the same place. */
void rw_ucx_say(ropeway_log_level_t level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- signals.c ---- */

/* Gives the signals back that a UCX has just taken, unless the user asked for its handlers. handle:
 * dlopen()'s. */
void rw_ucx_return_signals(void *handle);

#endif
