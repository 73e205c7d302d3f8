/* SPDX-License-Identifier: Apache-2.0 */
/* What tests ask of the machine of tools/lab. */
#ifndef TS_RDMA_LAB_H
#define TS_RDMA_LAB_H

/* Runs shell commands, which may use the functions of tools/lab.d/net.sh, and returns what they
 * print, malloc'ed. Fails the running test when they fail. */
char *ts_lab(const char *commands);

#endif
