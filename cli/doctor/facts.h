/* SPDX-License-Identifier: Apache-2.0 */
/* What ropeway_describe() and this machine say, and what follows from it; for info and doctor. */
#ifndef CLI_DOCTOR_FACTS_H
#define CLI_DOCTOR_FACTS_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

/* The object of ropeway_describe(), to be freed with json_decref(); NULL: ropeway_last_error(). */
json_t *cli_facts_load(const char *transports, const char *net_devices);

/* The names of families of transports: what UCX's names begin with. Each list ends with NULL. */
extern const char *const cli_facts_memory[];     /* shared memory, on the same host */
extern const char *const cli_facts_zero_copy[];  /* from process to process, on the same host */
extern const char *const cli_facts_infiniband[]; /* InfiniBand and RoCE */

/* Whether a UCX was loaded; why that one, or why none. */
bool cli_facts_have_ucx(const json_t *facts);
const char *cli_facts_why(const json_t *facts);

/* True when one of the transports belongs to the family. */
bool cli_facts_have(const json_t *facts, const char *const *family);

/* The transports of the family, "posix sysv", cut at size; "" when there is none. */
void cli_facts_list(const json_t *facts, const char *const *family, char *text, size_t size);

/* The network devices of a transport, as a new array of names. */
json_t *cli_facts_devices(const json_t *facts, const char *transport);

/* True when this UCX knows CUDA memory, and when a CUDA driver can be loaded. */
bool cli_facts_ucx_has_cuda(const json_t *facts);
bool cli_facts_have_cuda_driver(void);

/* The InfiniBand and RoCE devices that the kernel knows, as a new array of names. */
json_t *cli_facts_infiniband_hardware(void);

/* The strings of an array as "a, b, c", cut at size; "none" when it is empty. */
void cli_facts_join(const json_t *names, char *text, size_t size);

/* What to do to get what this UCX lacks. */
extern const char cli_facts_site_ucx[];

#endif
