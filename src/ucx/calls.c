/* SPDX-License-Identifier: Apache-2.0 */
/* The table of UCX's functions, and the steps through it; calls.h tells why so. */
#include "ucx/calls.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <ucp/api/ucp.h>
#include <ucs/debug/debug.h>
#include <ucs/debug/log_def.h>
#include <ucs/memory/memory_type.h>
#include <ucs/sys/string.h>

/* CALL(return or nothing, type, name, parameters, arguments) */
#define CALLS(CALL)                                                                                \
    CALL(return, ucs_status_ptr_t, ucp_am_recv_data_nbx,                                           \
               (ucp_worker_h worker, void *data, void *buffer, size_t count,                       \
                const ucp_request_param_t *param),                                                 \
               (worker, data, buffer, count, param))                                               \
    CALL(return, ucs_status_ptr_t, ucp_am_send_nbx,                                                \
               (ucp_ep_h endpoint, unsigned id, const void *header, size_t header_length,          \
                const void *buffer, size_t count, const ucp_request_param_t *param),               \
               (endpoint, id, header, header_length, buffer, count, param))                        \
    CALL(, void, ucp_cleanup, (ucp_context_h context), (context))                                  \
    CALL(return, ucs_status_t, ucp_config_modify,                                                  \
               (ucp_config_t * config, const char *name, const char *value),                       \
               (config, name, value))                                                              \
    CALL(, void, ucp_config_print,                                                                 \
         (const ucp_config_t *config, FILE *stream, const char *title,                             \
          ucs_config_print_flags_t flags),                                                         \
         (config, stream, title, flags))                                                           \
    CALL(return, ucs_status_t, ucp_config_read,                                                    \
               (const char *prefix, const char *file, ucp_config_t **config),                      \
               (prefix, file, config))                                                             \
    CALL(, void, ucp_config_release, (ucp_config_t * config), (config))                            \
    CALL(, void, ucp_context_print_info, (ucp_context_h context, FILE * stream),                   \
         (context, stream))                                                                        \
    CALL(return, ucs_status_t, ucp_context_query,                                                  \
               (ucp_context_h context, ucp_context_attr_t * attributes), (context, attributes))    \
    CALL(return, ucs_status_ptr_t, ucp_ep_close_nbx,                                               \
               (ucp_ep_h endpoint, const ucp_request_param_t *param), (endpoint, param))           \
    CALL(return, ucs_status_t, ucp_ep_create,                                                      \
               (ucp_worker_h worker, const ucp_ep_params_t *params, ucp_ep_h *endpoint),           \
               (worker, params, endpoint))                                                         \
    CALL(return, ucs_status_ptr_t, ucp_ep_flush_nbx,                                               \
               (ucp_ep_h endpoint, const ucp_request_param_t *param), (endpoint, param))           \
    CALL(return, ucs_status_t, ucp_ep_query, (ucp_ep_h endpoint, ucp_ep_attr_t * attributes),      \
               (endpoint, attributes))                                                             \
    CALL(return, ucs_status_t, ucp_ep_rkey_unpack,                                                 \
               (ucp_ep_h endpoint, const void *buffer, ucp_rkey_h *key), (endpoint, buffer, key))  \
    CALL(return, ucs_status_ptr_t, ucp_get_nbx,                                                    \
               (ucp_ep_h endpoint, void *buffer, size_t count, uint64_t address, ucp_rkey_h key,   \
                const ucp_request_param_t *param),                                                 \
               (endpoint, buffer, count, address, key, param))                                     \
    CALL(, void, ucp_get_version, (unsigned *major, unsigned *minor, unsigned *release),           \
         (major, minor, release))                                                                  \
    CALL(return, const char *, ucp_get_version_string, (void), ())                                 \
    CALL(return, ucs_status_t, ucp_init_version,                                                   \
               (unsigned major, unsigned minor, const ucp_params_t *params,                        \
                const ucp_config_t *config, ucp_context_h *context),                               \
               (major, minor, params, config, context))                                            \
    CALL(return, ucs_status_t, ucp_mem_map,                                                        \
               (ucp_context_h context, const ucp_mem_map_params_t *params, ucp_mem_h *memory),     \
               (context, params, memory))                                                          \
    CALL(return, ucs_status_t, ucp_mem_unmap, (ucp_context_h context, ucp_mem_h memory),           \
               (context, memory))                                                                  \
    CALL(return, ucs_status_ptr_t, ucp_put_nbx,                                                    \
               (ucp_ep_h endpoint, const void *buffer, size_t count, uint64_t address,             \
                ucp_rkey_h key, const ucp_request_param_t *param),                                 \
               (endpoint, buffer, count, address, key, param))                                     \
    CALL(return, ucs_status_t, ucp_request_check_status, (void *request), (request))               \
    CALL(, void, ucp_request_free, (void *request), (request))                                     \
    CALL(, void, ucp_rkey_buffer_release, (void *buffer), (buffer))                                \
    CALL(, void, ucp_rkey_destroy, (ucp_rkey_h key), (key))                                        \
    CALL(return, ucs_status_t, ucp_rkey_pack,                                                      \
               (ucp_context_h context, ucp_mem_h memory, void **buffer, size_t *size),             \
               (context, memory, buffer, size))                                                    \
    CALL(return, ucs_status_t, ucp_worker_arm, (ucp_worker_h worker), (worker))                    \
    CALL(return, ucs_status_t, ucp_worker_create,                                                  \
               (ucp_context_h context, const ucp_worker_params_t *params, ucp_worker_h *worker),   \
               (context, params, worker))                                                          \
    CALL(, void, ucp_worker_destroy, (ucp_worker_h worker), (worker))                              \
    CALL(return, ucs_status_t, ucp_worker_get_address,                                             \
               (ucp_worker_h worker, ucp_address_t * *address, size_t * length),                   \
               (worker, address, length))                                                          \
    CALL(return, ucs_status_t, ucp_worker_get_efd, (ucp_worker_h worker, int *fd), (worker, fd))   \
    CALL(return, unsigned, ucp_worker_progress, (ucp_worker_h worker), (worker))                   \
    CALL(, void, ucp_worker_release_address, (ucp_worker_h worker, ucp_address_t * address),       \
         (worker, address))                                                                        \
    CALL(return, ucs_status_t, ucp_worker_set_am_recv_handler,                                     \
               (ucp_worker_h worker, const ucp_am_handler_param_t *param), (worker, param))        \
    CALL(, void, ucs_debug_disable_signal, (int number), (number))                                 \
    CALL(return, ucs_status_t, ucs_global_opts_set_value, (const char *name, const char *value),   \
               (name, value))                                                                      \
    CALL(, void, ucs_log_push_handler, (ucs_log_func_t handler), (handler))                        \
    CALL(return, const char *, ucs_status_string, (ucs_status_t status), (status))                 \
    CALL(return, ucs_status_t, ucs_str_to_memunits, (const char *text, void *size), (text, size))

static struct {
#define MEMBER(give, type, name, parameters, arguments) __typeof__(&(name)) to_##name;
    CALLS(MEMBER)
#undef MEMBER
    const char **memory_names;
} table;

#define STEP(give, type, name, parameters, arguments)                                              \
    type name parameters {                                                                         \
        give table.to_##name arguments;                                                            \
    }
CALLS(STEP)
#undef STEP

static const struct {
    const char *name;
    size_t place;
} symbols[] = {
#define SYMBOL(give, type, name, parameters, arguments)                                            \
    {#name, offsetof(__typeof__(table), to_##name)},
    CALLS(SYMBOL)
#undef SYMBOL
        {"ucs_memory_type_names", offsetof(__typeof__(table), memory_names)}};

const char *rw_ucx_calls_fill(void *library) {
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].name);

        if (symbol == NULL) {
            return symbols[i].name;
        }
        memcpy((char *)&table + symbols[i].place, &symbol, sizeof symbol);
    }
    return NULL;
}

const char *rw_ucx_memory_name(unsigned type) {
    return table.memory_names[type];
}
